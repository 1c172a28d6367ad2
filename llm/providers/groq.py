"""https://console.groq.com/docs/api-reference#chat-create"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.providers.base import ListedModel
from llm.providers.json_values import as_count, as_dict
from llm.providers.openai_dialect import OpenAIDialect, OpenAIReader
from llm.providers.reader import InBandError


class GroqReader(OpenAIReader):
    """Reads also `x_groq`: usage in the last chunk, and the reason why an answer ended early.

    https://github.com/Portkey-AI/gateway/issues/1072 (2025-04) shows the usage; the error: observed 2026-11.
    """

    def read_head(self, value: Mapping[str, Any]) -> None:
        super().read_head(value)
        if "x_groq" in value and (groq := as_dict(value["x_groq"])):
            self.read_usage(as_dict(groq.get("usage")))
            if groq.get("error"):
                raise InBandError(groq)


class Groq(OpenAIDialect):
    name = "groq"
    label = "Groq"
    reader_class = GroqReader
    accepts = frozenset({"image"})

    def ignored(self, model: str) -> frozenset[str]:
        """Names and unknown parameters are a 400 there, penalties are accepted and not used.

        https://console.groq.com/docs/openai and https://console.groq.com/docs/api-reference (2026-11)
        """
        penalties = {"frequency_penalty", "presence_penalty", "repetition_penalty"}
        return frozenset({"name", "verbosity", "top_k", "min_p", *penalties})

    def listed_model(self, entry: Mapping[str, Any]) -> ListedModel | None:
        if entry.get("active") is False:
            return None
        return ListedModel(entry["id"], context_window=as_count(entry.get("context_window")))
