"""The providers by name, in the order in which the default route falls back.

`base` has what a provider is, `call` one request to it. The way back: `transport` and `stream`
turn bytes into JSON documents, a provider's `reader` puts them into a `completion_builder`.
`error_responses`, `network_errors` and `retry_after` read what went wrong, `refusal_table` has what it
means.
"""

from __future__ import annotations

import threading

from django.conf import settings

from llm.providers.base import Limits, ListedModel, Provider, needs
from llm.providers.call import ProviderCall
from llm.providers.gemini import Gemini
from llm.providers.groq import Groq
from llm.providers.local import Local
from llm.providers.openai_compatible import OpenAICompatible
from llm.providers.openrouter import OpenRouter

__all__ = ["PROVIDERS", "Limits", "ListedModel", "Provider", "ProviderCall", "configured", "get", "needs"]

PROVIDERS: dict[str, type[Provider]] = {
    provider.name: provider for provider in (Groq, Gemini, OpenRouter, OpenAICompatible, Local)
}

_instances: dict[tuple[str, ...], Provider] = {}
_lock = threading.Lock()


def get(name: str) -> Provider:
    """Return the provider as the settings describe it, the same object for the same settings.

    Raises KeyError for a name that is not in `PROVIDERS`.
    """
    values = settings.LLM_PROVIDERS[name]
    key = (name, values["api_key"], values["base_url"], values["model"], str(settings.LLM_POOL))
    provider = _instances.get(key)
    if provider is None:
        with _lock:
            provider = _instances.get(key)
            if provider is None:
                provider = _instances[key] = PROVIDERS[name](
                    api_key=values["api_key"], base_url=values["base_url"], model=values["model"]
                )
    return provider


def configured() -> list[Provider]:
    """Return the providers that can be tried, in fallback order."""
    return [provider for name in PROVIDERS if (provider := get(name)).configured]
