"""One call to a provider in flight: bytes come in, canonical events go out."""

from __future__ import annotations

from collections.abc import Iterator

from llm import canonical


class Exchange:
    """One call in flight; iterate over it once.

    Yields `Text`, `Reasoning` and `ToolCallDelta` as they arrive (those that came
    in one read are joined), and last one `Finished`. Everything else is raised as
    a `ProviderError`: it never yields `Failed` and never ends without `Finished`.
    A refusal or content filter is raised as `Blocked`, with what was said before
    it in `partial` (`partial.finish == "blocked"`).

    `status` is the HTTP status, `first_token_ms` the time from the start of the
    iteration to the first text, reasoning or tool call; both None until known.
    """

    status: int | None = None
    first_token_ms: int | None = None

    def __iter__(self) -> Iterator[canonical.Event]:
        raise NotImplementedError

    def close(self) -> None:
        """Stop the call, from any thread: a reader that waits wakes at once and raises Cancelled.

        Idempotent; does nothing to a call that has finished.
        """
        raise NotImplementedError

    @property
    def partial(self) -> canonical.Completion:
        """What has come so far: text, tool calls, usage, response id, model used."""
        raise NotImplementedError


class Reader:
    """Turns a provider's decoded JSON into canonical events; see `llm.providers.answer`."""
