"""The providers by name, in the order in which the default route falls back."""

from __future__ import annotations

import threading

from django.conf import settings

from llm.providers.base import Exchange, Limits, ListedModel, Provider
from llm.providers.gemini import Gemini
from llm.providers.groq import Groq
from llm.providers.local import Local
from llm.providers.openai_compatible import OpenAICompatible
from llm.providers.openrouter import OpenRouter

__all__ = ["PROVIDERS", "Exchange", "Limits", "ListedModel", "Provider", "configured", "get"]

PROVIDERS: dict[str, type[Provider]] = {
    provider.name: provider for provider in (Groq, Gemini, OpenRouter, OpenAICompatible, Local)
}

_made: dict[tuple[str, ...], Provider] = {}
_lock = threading.Lock()


def get(name: str) -> Provider:
    """Return the provider as the settings describe it, the same object for the same settings.

    Raises KeyError for a name that is not in `PROVIDERS`.
    """
    values = settings.LLM_PROVIDERS[name]
    key = (name, values["api_key"], values["base_url"], values["model"], str(settings.LLM_POOL))
    provider = _made.get(key)
    if provider is None:
        with _lock:
            provider = _made.get(key)
            if provider is None:
                provider = _made[key] = PROVIDERS[name](
                    api_key=values["api_key"], base_url=values["base_url"], model=values["model"]
                )
    return provider


def configured() -> list[Provider]:
    """Return the providers that can be tried, in fallback order."""
    return [provider for name in PROVIDERS if (provider := get(name)).configured]
