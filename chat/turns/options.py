"""With what a turn calls its provider: each option is the request's, else the session's, else the tenant's.

And how much one call can use at most, which is what a turn reserves of its plan's limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chat.turns.history import HISTORY_LIMIT, EarlierMessage, history
from chat.turns.question import RequestedOptions
from chat.turns.turn_errors import ModelNotAllowed, UnpricedRefused
from core.errors import InvalidInput, Unavailable
from llm import canonical, providers
from llm.catalogue import catalogue
from llm.routing import default_route, parse_route
from llm.windows import ANSWER_TOKENS, WINDOWS, with_fitting_history
from tenants.models import ApiKey, Plan, Tenant

#: What a provider's format adds to each message (role, separators). Generous: reservations are upper bounds.
_TOKENS_PER_MESSAGE = 16

#: Providers count an image by its tiles; this is the count of the largest.
_TOKENS_PER_IMAGE = 8192


@dataclass(frozen=True, slots=True)
class Options:
    route: tuple[canonical.Target, ...]
    system: str
    temperature: float | None
    max_tokens: int | None
    history_messages: int
    #: Whose turn it is, for what was learned about windows.
    origin: str = ""

    def request(self, question: str, earlier: Sequence[EarlierMessage]) -> canonical.Request:
        """Return the canonical request: system prompt, as much history as fits, and the question."""
        sent = history(earlier, limit=self.history_messages)
        request = canonical.Request(
            messages=(*sent, canonical.Message("user", question)),
            system=self.system,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            history=len(sent),
        )
        return with_fitting_history(request, WINDOWS.get(self.route[0], self.origin))


def choose_options(tenant: Tenant, overrides: dict[str, Any], requested: RequestedOptions) -> Options:
    """Return the options of one turn; `overrides` are the session's.

    Raises InvalidInput for a model or route that does not exist, Unavailable without any provider.
    """
    plan = tenant.plan
    route = _route(tenant, overrides, requested)
    max_tokens = _first(requested.get("max_tokens"), overrides.get("max_tokens"), tenant.max_tokens)
    history_limits = [HISTORY_LIMIT, tenant.history_messages, plan.history_messages]
    return Options(
        route=route,
        system=_first(overrides.get("system_prompt"), tenant.system_prompt) or "",
        temperature=_first(requested.get("temperature"), overrides.get("temperature"), tenant.temperature),
        max_tokens=answer_limit(max_tokens, plan, route),
        history_messages=min(limit for limit in history_limits if limit is not None),
        origin=str(tenant.pk),
    )


def answer_limit(requested: int | None, plan: Plan, route: Sequence[canonical.Target]) -> int | None:
    """Return the most tokens that an answer may have: of `requested` and the plan's; None without a limit.

    Without one the model's own maximum applies, and none is sent: Groq counts a limit that is sent as if it
    were used (https://console.groq.com/docs/rate-limits, 2026-11). Where that maximum is not known, a plan
    that limits tokens or cost sets one: usage without a bound could not be reserved.
    """
    limit = _smallest(requested, plan.max_output_tokens)
    if limit is None and (plan.tokens_per_month is not None or plan.cost_per_month is not None):
        unknown = any(catalogue().get(target).max_output is None for target in route)
        return ANSWER_TOKENS if unknown else None
    return limit


def _route(
    tenant: Tenant, overrides: dict[str, Any], requested: RequestedOptions
) -> tuple[canonical.Target, ...]:
    target = requested_target(requested.get("provider"), requested.get("model"))
    try:
        if target:
            route = parse_route([target])
        elif names := overrides.get("route") or tenant.route:
            route = parse_route(names)
        else:
            route = default_route()
    except ValueError as error:
        raise InvalidInput({_field_of(requested) if target else "route": [str(error)]}) from error
    if not route:
        raise Unavailable(
            "No provider is configured. Set a provider's key or name a route.",
            "no_provider",
            retry_after_seconds=60,
        )
    return route


def _field_of(requested: RequestedOptions) -> str:
    """Return the field that names what does not exist."""
    provider = requested.get("provider")
    return "provider" if provider is not None and provider not in providers.PROVIDERS else "model"


def requested_target(provider: str | None, model: str | None) -> str | None:
    """Return the target that `provider` and `model` of a request name, as it is written in routes.

    A model alone is `provider/model`, a model in the catalogue, or the default model of a provider. If
    several providers have it, the first configured one is used.
    """
    if provider:
        return f"{provider}/{model}" if model else provider
    if not model:
        return None
    known = [entry.target for entry in catalogue() if entry.target.model == model]
    for usable in providers.configured():
        if usable.model == model or canonical.Target(usable.name, model) in known:
            return f"{usable.name}/{model}"
    return str(known[0]) if known else model


def require_allowed_models(key: ApiKey | None, route: Sequence[canonical.Target]) -> None:
    """Raise ModelNotAllowed if the key has a list of models and a target of `route` is not in it."""
    if key is None:
        return
    for target in route:
        if not key.allows_target(target):
            raise ModelNotAllowed(f"This key may not use {target}.")


def reserve(plan: Plan, request: canonical.Request, route: Sequence[canonical.Target]) -> tuple[int, Decimal]:
    """Return the most tokens and US dollars that one answer can use, for a turn's reservation.

    Raises UnpricedRefused where the plan allows priced models only.
    """
    if plan.unpriced == Plan.Unpriced.REFUSE:
        unpriced = [target for target in route if catalogue().cost(target, canonical.Usage(1, 1))[0] is None]
        if unpriced:
            raise UnpricedRefused(f"The price of {unpriced[0]} is not known; the plan needs one.")
    return upper_bound(request, route)


def upper_bound(request: canonical.Request, route: Sequence[canonical.Target]) -> tuple[int, Decimal]:
    """Return the most tokens and US dollars that one call with `request` to any target of `route` can use."""
    texts = list(_texts(request))
    media = sum(_media_bound(media) for message in request.messages for media in message.media)
    sent = token_bound("".join(texts)) + len(texts) * _TOKENS_PER_MESSAGE + media
    models = [catalogue().get(target).max_output for target in route]
    answer = max(
        (_smallest(request.max_tokens, most) or ANSWER_TOKENS for most in models), default=ANSWER_TOKENS
    )
    bound = canonical.Usage(input=sent, output=answer)
    costs = [catalogue().cost(target, bound)[0] for target in route]
    return bound.total, max((cost for cost in costs if cost is not None), default=Decimal(0))


def _texts(request: canonical.Request) -> Iterator[str]:
    """Yield everything that is sent as text, with tools and schema."""
    yield request.system
    for message in request.messages:
        yield message.text
        if message.reasoning:
            yield message.reasoning
        yield from (call.name + call.arguments for call in message.tool_calls)
    yield from (f"{tool.name}{tool.description}{json.dumps(tool.parameters)}" for tool in request.tools)
    if request.json_schema is not None:
        yield json.dumps(request.json_schema)


def _media_bound(media: canonical.Media) -> int:
    """Return the most tokens that an image, a recording or a document can have.

    Providers count up to 32 tokens for a second of sound, which has 2 kB or more, and a page of a document as
    its text and its image: https://ai.google.dev/gemini-api/docs/tokens (2026-11).
    """
    characters = {"image": 0, "audio": len(media.url) // 64, "file": len(media.url) // 4}[media.kind]
    return max(_TOKENS_PER_IMAGE, characters)


def token_bound(text: str) -> int:
    """Return the most tokens that `text` can have: in every tokenizer in use, its number of UTF-8 bytes."""
    return len(text.encode("utf-8", "replace"))


def _first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), None)


def _smallest(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
