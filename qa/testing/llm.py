"""Calls of a provider in tests: requests, limits, and the outcome of one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llm import canonical
from llm.errors import ProviderError
from llm.providers import Limits, ProviderCall

KEY = "good-key-of-the-tests"

#: Short enough for a fast suite, long enough for a busy machine.
LIMITS = Limits(first_token_seconds=5, between_tokens_seconds=5, total_seconds=20)

WEATHER = canonical.Tool(
    "get_weather",
    "Returns the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = canonical.Tool("get_time")


@dataclass
class Outcome:
    """The outcome of one call: its events, and the completion or the error."""

    call: ProviderCall
    events: list[canonical.Waiting | canonical.Delta | canonical.Finished] = field(default_factory=list)
    completion: canonical.Completion | None = None
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        retracted = [at for at, event in enumerate(self.events) if isinstance(event, canonical.Retracted)]
        events = self.events[retracted[-1] :] if retracted else self.events
        return "".join(event.text for event in events if isinstance(event, canonical.Text))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, canonical.Reasoning))

    @property
    def partial(self) -> canonical.Completion:
        return self.call.partial


def asking(prompt: str = "Hello there", **fields: Any) -> canonical.Request:
    return canonical.Request((canonical.Message("user", prompt),), **fields)


def outcome_of(call: ProviderCall) -> Outcome:
    """Read `call` to its end and check what holds for every call."""
    outcome = Outcome(call)
    try:
        for event in call:
            outcome.events.append(event)
    except ProviderError as error:
        outcome.error = error
    else:
        assert isinstance(outcome.events[-1], canonical.Finished)
        outcome.completion = outcome.events[-1].completion
        assert outcome.completion == outcome.partial
    assert sum(isinstance(event, canonical.Finished) for event in outcome.events) == bool(outcome.completion)
    assert outcome.text == outcome.partial.text
    assert outcome.reasoning == outcome.partial.reasoning
    return outcome
