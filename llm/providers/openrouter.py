"""https://openrouter.ai/docs/api-reference/chat-completion"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm import canonical, errors
from llm.providers.answer import count, money, updated
from llm.providers.base import ListedModel, items, mapping
from llm.providers.openai_dialect import OpenAIDialect, OpenAIReader
from llm.providers.refusals import Refusal

#: What is written in pieces inside a reasoning detail; the rest is replaced by what comes last.
_GROWING = ("text", "summary", "data")


class OpenRouterReader(OpenAIReader):
    """Reads the price of the answer, and the reasoning details that later turns must repeat."""

    def read_usage(self, usage: Mapping[str, Any]) -> None:
        super().read_usage(usage)
        self.answer.usage = updated(self.answer.usage, cost=money(usage.get("cost")))

    def read_piece(self, piece: Mapping[str, Any], *, whole: bool) -> None:
        super().read_piece(piece, whole=whole)
        for detail in items(piece.get("reasoning_details")):
            if isinstance(detail, dict):
                self._add_detail(detail)

    def _add_detail(self, detail: dict[str, Any]) -> None:
        details = self.answer.opaque = self.answer.opaque or []
        last = details[-1] if details else {}
        if detail.get("index") is None or any(last.get(key) != detail.get(key) for key in ("type", "index")):
            details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _GROWING and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value not in (None, "") or name not in last:
                last[name] = value


class OpenRouter(OpenAIDialect):
    name = "openrouter"
    label = "OpenRouter"
    asks_for_usage = False
    reader_class = OpenRouterReader

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        payload = super().payload(request, model, stream)
        if request.tools or request.json_mode or request.json_schema is not None:
            # Otherwise a host that knows no tools or formats gets the request without them, silently.
            payload["provider"] = {"require_parameters": True}
        return payload

    def reasoning(self, request: canonical.Request) -> dict[str, Any]:
        return {"reasoning": {"effort": request.reasoning_effort} if request.reasoning_effort else None}

    def assistant_message(self, message: canonical.Message) -> dict[str, Any]:
        written = super().assistant_message(message)
        if details := (message.opaque or {}).get(self.name):
            written["reasoning_details"] = details
        return written

    def judge(self, refusal: Refusal) -> type[errors.ProviderError] | None:
        """Return what 403 means: a spent budget, a moderated prompt, or (None) a key without the right."""
        if refusal.status != 403 and "permission_denied" not in refusal.codes:
            return None
        if refusal.metadata.get("limit_source"):
            return errors.BillingRefused
        moderated = refusal.metadata.get("reasons") or refusal.metadata.get("flagged_input")
        return errors.Blocked if moderated or "guardrail" in refusal.message.lower() else None

    def waiting(self, refusal: Refusal) -> tuple[float | None, bool]:
        seconds, do_not_wait = super().waiting(refusal)
        retryable = mapping(refusal.error.get("availability")).get("retryable")
        return seconds, do_not_wait or retryable is False

    def listed(self, entry: Mapping[str, Any]) -> ListedModel:
        pricing = mapping(entry.get("pricing"))
        given, made = money(pricing.get("prompt")), money(pricing.get("completion"))
        prices = (given * 1_000_000, made * 1_000_000) if given is not None and made is not None else None
        return ListedModel(entry["id"], context_window=count(entry.get("context_length")), prices=prices)
