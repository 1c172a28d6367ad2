"""https://openrouter.ai/docs/api-reference/chat-completion"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from llm import canonical
from llm.providers.base import ListedModel
from llm.providers.error_responses import ErrorResponse
from llm.providers.json_values import as_count, as_dict, as_list, as_usd
from llm.providers.openai_dialect import OpenAIDialect, OpenAIReader

#: The fields of a reasoning detail that come in pieces; of the others the last value counts.
_INCREMENTAL = ("text", "summary", "data")


class OpenRouterReader(OpenAIReader):
    """Reads also the price of the answer, and the reasoning details that later turns must repeat.

    https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-06): the details are to be
    sent back unchanged. In streams they come in pieces, of one `index` each (observed 2026-11).
    """

    def read_usage(self, usage: Mapping[str, Any]) -> None:
        super().read_usage(usage)
        self.builder.update_usage(cost=_cost(usage))

    def read_message(self, message: Mapping[str, Any], *, whole: bool) -> None:
        super().read_message(message, whole=whole)
        for detail in as_list(message.get("reasoning_details")):
            if isinstance(detail, dict):
                self._add_detail(detail)

    def _add_detail(self, detail: dict[str, Any]) -> None:
        details = self.builder.opaque = self.builder.opaque or []
        last = details[-1] if details else {}
        if detail.get("index") is None or any(last.get(key) != detail.get(key) for key in ("type", "index")):
            details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _INCREMENTAL and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value not in (None, "") or name not in last:
                last[name] = value


def _cost(usage: Mapping[str, Any]) -> Decimal | None:
    """Return the price of the answer in USD; None if it is not known.

    With a key of one's own at the host, `cost` is OpenRouter's fee only, and the host's price is beside it:
    https://openrouter.ai/docs/use-cases/usage-accounting (2026-11).
    """
    cost = as_usd(usage.get("cost"))
    if usage.get("is_byok") is not True:
        return cost
    details = as_dict(usage.get("cost_details"))
    at_host = as_usd(details.get("upstream_inference_cost"))
    if at_host is None:
        parts = [as_usd(details.get(f"upstream_inference_{part}_cost")) for part in ("prompt", "completions")]
        at_host = sum((part for part in parts if part is not None), Decimal(0)) if None not in parts else None
    return None if cost is None or at_host is None else cost + at_host


class OpenRouter(OpenAIDialect):
    name = "openrouter"
    label = "OpenRouter"
    # Usage always comes: https://openrouter.ai/docs/use-cases/usage-accounting (2026-11)
    requests_usage = False
    reader_class = OpenRouterReader
    reasoning_effort_path = ("reasoning", "effort")
    # https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11)
    reasoning_field = "reasoning"

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        payload = super().payload(request, model, stream)
        if request.tools or request.json_mode or request.json_schema is not None:
            # Otherwise a host without tools or formats may get the request, and ignores them:
            # https://openrouter.ai/docs/features/provider-routing (2026-11)
            payload["provider"] = {"require_parameters": True}
        return payload

    def reasoning(self, request: canonical.Request) -> dict[str, Any]:
        return {"reasoning": {"effort": request.reasoning_effort} if request.reasoning_effort else None}

    def assistant_message(self, message: canonical.Message) -> dict[str, Any]:
        fields = super().assistant_message(message)
        if details := (message.opaque or {}).get(self.name):
            fields["reasoning_details"] = details
            fields.pop("reasoning", None)  # They contain it.
        return fields

    def retry_delay(self, response: ErrorResponse) -> tuple[float | None, bool]:
        seconds, do_not_wait = super().retry_delay(response)
        # Errors with `availability` (observed 2026-11) say whether to retry at all.
        return seconds, do_not_wait or response.availability.get("retryable") is False

    def listed_model(self, entry: Mapping[str, Any]) -> ListedModel:
        pricing = as_dict(entry.get("pricing"))
        # USD per token, as text (observed 2026-11).
        prompt, completion = as_usd(pricing.get("prompt")), as_usd(pricing.get("completion"))
        prices = (
            None if prompt is None or completion is None else (prompt * 1_000_000, completion * 1_000_000)
        )
        return ListedModel(entry["id"], context_window=as_count(entry.get("context_length")), prices=prices)
