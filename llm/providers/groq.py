"""https://console.groq.com/docs/api-reference#chat-create"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.providers.answer import Refused, count
from llm.providers.base import ListedModel, mapping
from llm.providers.openai_dialect import OpenAIDialect, OpenAIReader


class GroqReader(OpenAIReader):
    """Groq's own facts stand in `x_groq`: usage in the last chunk, and why it stopped early."""

    def read_head(self, value: Mapping[str, Any]) -> None:
        super().read_head(value)
        if "x_groq" in value and (groq := mapping(value["x_groq"])):
            self.read_usage(mapping(groq.get("usage")))
            if groq.get("error"):
                raise Refused(groq)


class Groq(OpenAIDialect):
    name = "groq"
    label = "Groq"
    reader_class = GroqReader

    def listed(self, entry: Mapping[str, Any]) -> ListedModel | None:
        if entry.get("active") is False:
            return None
        return ListedModel(entry["id"], context_window=count(entry.get("context_window")))
