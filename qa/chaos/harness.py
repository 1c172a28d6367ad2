"""Sends requests along a route whose providers are all the fake one, and records what a client sees."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llm.breaker import Breakers
from llm.canonical import (
    Attempt,
    Event,
    Failed,
    Finished,
    Message,
    Request,
    Restarted,
    Target,
    Text,
)
from llm.policy import Policy
from llm.providers import PROVIDERS, Provider
from llm.routing import Run
from qa.fake_provider.server import Entry, FakeProvider

KEY = "chaos-key"

#: The answer of every healthy target.
ANSWER = (
    "A route is a list of models in the order in which they are called, and an answer is only "
    "complete when the provider has stated why it ended, so a cut is never mistaken for an end."
)

QUESTION = Request(messages=(Message("user", "What is a route?"),))


@dataclass(frozen=True, slots=True)
class Observation:
    """One run as its client saw it, with the requests that the fake provider received."""

    events: list[Event]
    seconds: float
    attempts: list[Attempt]
    received: list[Entry]
    alerts: int

    @property
    def end(self) -> Event | None:
        return self.events[-1] if self.events else None

    @property
    def text(self) -> str:
        """The text that the client shows at the end."""
        pieces: list[str] = []
        for event in self.events:
            if isinstance(event, Restarted):
                pieces.clear()
            elif isinstance(event, Text):
                pieces.append(event.text)
        return "".join(pieces)

    @property
    def restarts(self) -> int:
        return sum(isinstance(event, Restarted) for event in self.events)

    @property
    def outcome(self) -> str:
        """The client's result in a few words."""
        match self.end:
            case Finished():
                return "answer after a restart" if self.restarts else "answer"
            case Failed(error, partial):
                return f"error: {error.kind}" + (", partial kept" if partial else "")
        return "nothing"


class Harness:
    """Sends requests along `route`, with its own circuit breakers. Not thread-safe."""

    def __init__(self, fake: FakeProvider, policy: Policy, run_class: type[Run]) -> None:
        self.fake = fake
        self.policy = policy
        self.run_class = run_class
        self.route: tuple[Target, ...] = ()
        self.breakers = Breakers()
        self._providers: dict[str, Provider] = {}

    def start(self, route: Sequence[Target]) -> None:
        """Reset everything, and make every target of `route` answer `ANSWER`."""
        self.route = tuple(route)
        for target in route:
            self._provider_of(target.provider)  # Created here: a call must not include loading certificates.
        self.breakers = Breakers()
        self.fake.reset()
        self.fake.script(answer={"text": ANSWER})

    def script(self, position: int, **script: object) -> None:
        """Make the target at `position` (from 1) behave as `script` defines; its answer is `ANSWER`."""
        target = self.route[position - 1]
        self.fake.script(
            **{"provider": target.provider, "model": target.model, "answer": {"text": ANSWER}} | script
        )

    def send(
        self,
        request: Request = QUESTION,
        on_event: Callable[[Run, Event], None] = lambda run, event: None,
    ) -> Observation:
        """Run `request` to its end; `on_event` is called with each event as it arrives."""
        received = len(self.fake.log())
        with _alerts() as alerts:
            began = time.monotonic()
            run = self.run_class(
                request,
                self.route,
                policy=self.policy,
                breakers=self.breakers,
                provider_of=self._provider_of,
            )
            events = []
            for event in run:
                events.append(event)
                on_event(run, event)
            seconds = time.monotonic() - began
        return Observation(events, seconds, run.attempts, self.fake.log()[received:], len(alerts))

    def receipt(self, attempts: Sequence[Attempt]) -> str:
        """Return the receipt with targets as positions of the route: `1:overloaded 2:ok`."""
        return " ".join(f"{self.route.index(line.target) + 1}:{line.outcome}" for line in attempts)

    def _provider_of(self, name: str) -> Provider:
        if name not in self._providers:
            self._providers[name] = PROVIDERS[name](
                api_key=KEY, base_url=self.fake.base_url(name), model="unused"
            )
        return self._providers[name]


@contextlib.contextmanager
def _alerts() -> Iterator[list[logging.LogRecord]]:
    """Collect this thread's log records of level ERROR about targets."""
    records: list[logging.LogRecord] = []
    thread = threading.get_ident()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.levelno >= logging.ERROR:
                records.append(record)

    handler = Collect()
    logger = logging.getLogger("llm.routing")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
