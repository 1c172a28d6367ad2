"""The part of reading a response that all providers share: documents in, a checked completion out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from llm import canonical
from llm.errors import BadReply, Blocked, ContextTooLong
from llm.providers import finish_reasons
from llm.providers.completion_builder import CompletionBuilder
from llm.providers.stream import Document
from llm.providers.text import sanitized


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

    def end(self, reason: Any) -> None:
        """Take the word with which the answer ends; none changes nothing, and of two the worse one counts."""
        builder = self.builder
        finish = finish_reasons.worse(builder.finish, finish_reasons.finish_of(reason))
        if finish != builder.finish:
            builder.finish, builder.raw_finish = finish, sanitized(finish_reasons.reason_of(reason).strip())

    def close(self, *, is_complete: bool = False) -> canonical.Completion:
        """Return the completion once nothing more comes.

        `is_complete`: the response has announced its end, which stands for a missing word of ending.
        Raises BadReply if the answer is incomplete, Blocked, and ContextTooLong if nothing fitted.
        """
        builder = self.builder
        has_reason = builder.finish is not None
        if not has_reason:
            builder.finish = "stop" if is_complete else None
        builder.close(is_cut=not has_reason)
        if builder.finish is None or (builder.is_empty and not has_reason):
            builder.finish = None
            raise BadReply(f"{builder.target} ended its answer without finishing it.")
        if builder.finish == "blocked" and builder.refusal and "refusal" in builder.raw_finish.lower():
            builder.finish = "stop"
        if builder.finish == "blocked":
            sentence = f"{builder.target} blocked its answer{shown_code(builder.raw_finish)}."
            raise Blocked(sentence, detail=self.block_detail)
        if builder.finish == "error":
            raise BadReply(
                f"{builder.target} broke off its answer.",
                detail=f"finish reason {builder.raw_finish[:200]!r}",
                by_model=finish_reasons.is_by_model(builder.raw_finish),
            )
        if builder.finish in ("stop", "tool_calls"):
            builder.finish = "tool_calls" if builder.calls else "refusal" if builder.refusal else "stop"
        has_nothing = builder.is_empty and not builder.has_reasoning
        if has_nothing and finish_reasons.is_full_window(builder.raw_finish):
            raise ContextTooLong(f"The conversation is too long for {builder.target}.")
        # Reasoning counts toward the token limit: an answer may consist of nothing else.
        if builder.is_empty and builder.finish != "length":
            detail = f"finish {builder.raw_finish[:200]!r}"
            raise BadReply(f"{builder.target} gave an empty answer.", detail=detail, by_model=True)
        return builder.completion()


def shown_code(code: str) -> str:
    """Return ` (SAFETY)` for a code that is safe to show, "" for anything longer than a code."""
    return f" ({code})" if re.fullmatch(r"[A-Za-z_]{1,40}", code) else ""
