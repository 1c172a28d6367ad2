"""Routes: ordered targets, written `provider` or `provider/model`."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings

from llm import providers
from llm.canonical import Target

MAX_TARGETS = 10
MAX_MODEL_NAME_LENGTH = 200

#: Of a provider, a slash and a model: longer than any that `parse_route` accepts.
MAX_TARGET_LENGTH = 240


def parse_route(names: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets that `provider` (its default model) and `provider/model` name.

    Raises ValueError with a sentence that says what to change.
    """
    if not names:
        raise ValueError("A route names at least one provider or provider/model.")
    return tuple(_parse_target(name) for name in names)


def _parse_target(name: str) -> Target:
    provider, slash, model = name.strip().partition("/")
    if provider not in providers.PROVIDERS:
        raise ValueError(
            f"There is no provider {provider[:50]!r}. Write provider or provider/model; "
            f"known are {', '.join(providers.PROVIDERS)}."
        )
    if not slash:
        model = providers.get(provider).model
    if not model:
        raise ValueError(f"{provider} has no default model. Write {provider}/ and a model's name.")
    if len(model) > MAX_MODEL_NAME_LENGTH or not model.isprintable():
        raise ValueError(f"A model's name has at most {MAX_MODEL_NAME_LENGTH} printable characters.")
    return Target(provider, model)


def default_targets(names: Sequence[str]) -> list[Target]:
    """Return the default models of these providers; those without one are left out."""
    named = [providers.get(name) for name in names if name in providers.PROVIDERS]
    return [Target(provider.name, provider.model) for provider in named if provider.model]


def default_route() -> tuple[Target, ...]:
    """Return the route of requests that do not name one.

    `LLM_ROUTE`, else every configured provider with its default model, else the local model,
    which is much weaker than the others and therefore never their fallback. Empty if nothing
    is configured.
    """
    if settings.LLM_ROUTE:
        return parse_route(settings.LLM_ROUTE)
    usable = [provider for provider in providers.configured() if provider.model]
    remote = [provider for provider in usable if provider.name != "local"]
    return tuple(Target(provider.name, provider.model) for provider in remote or usable)
