"""The part of reading a response that all providers share: documents in, a checked completion out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from llm import canonical
from llm.errors import BadReply, Blocked
from llm.providers.completion_builder import CompletionBuilder
from llm.providers.stream import Document


class InBandError(Exception):
    """The provider reports an error inside a response with status 200; `body` is that error, decoded."""

    def __init__(self, body: Any) -> None:
        super().__init__("the provider reports an error")
        self.body = body


class Reader(ABC):
    """Reads the JSON documents of one response, streamed or whole, into `builder`."""

    def __init__(self, request: canonical.Request, target: canonical.Target) -> None:
        self.builder = CompletionBuilder(request, target)
        #: What the provider says about a blocked answer, for the logs.
        self.block_detail = ""

    @abstractmethod
    def feed(self, document: Document) -> None:
        """Read one document. Raises InBandError, or BadReply for what cannot be used."""

    def close(self) -> canonical.Completion:
        """Return the completion once nothing more comes. Raises BadReply if it is incomplete, or Blocked."""
        builder = self.builder
        if builder.finish is None:
            raise BadReply(f"{builder.target} ended its answer without finishing it.")
        builder.close()
        if builder.finish == "blocked":
            sentence = f"{builder.target} blocked its answer{shown_code(builder.raw_finish)}."
            raise Blocked(sentence, detail=self.block_detail)
        if builder.finish == "error":
            raise BadReply(
                f"{builder.target} broke off its answer.", detail=f"finish reason {builder.raw_finish!r}"
            )
        if builder.calls and builder.finish == "stop":
            builder.finish = "tool_calls"
        elif builder.finish == "tool_calls" and not builder.calls:
            builder.finish = "stop"
        # Reasoning counts toward the token limit: an answer may consist of nothing else.
        if builder.is_empty and builder.finish != "length":
            detail = f"finish {builder.raw_finish!r}"
            raise BadReply(f"{builder.target} gave an empty answer.", detail=detail, by_model=True)
        return builder.completion()


def shown_code(code: str) -> str:
    """Return ` (SAFETY)` for a code that is safe to show, "" for anything longer than a code."""
    return f" ({code})" if re.fullmatch(r"[A-Za-z_]{1,40}", code) else ""
