"""A route whose providers are all the fake one, and what a client of it sees."""

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

#: What every healthy target answers.
ANSWER = (
    "A route is a list of models in the order in which they are asked, and an answer is only "
    "whole when the provider has said why it ended, so a cut is never mistaken for an end."
)

QUESTION = Request(messages=(Message("user", "What is a route?"),))


@dataclass(frozen=True, slots=True)
class Seen:
    """One run as its client saw it, with what the fake provider received meanwhile."""

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
        """What stands on the client's screen."""
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
    def got(self) -> str:
        """The client's result in a few words."""
        match self.end:
            case Finished():
                return "answer after a restart" if self.restarts else "answer"
            case Failed(error, partial):
                return f"error: {error.kind}" + (", partial kept" if partial else "")
        return "nothing"


class Bench:
    """Sends requests along `route`, whose providers are all the fake one, with circuits of its own."""

    def __init__(self, fake: FakeProvider, policy: Policy, run_class: type[Run]) -> None:
        self.fake = fake
        self.policy = policy
        self.run_class = run_class
        self.route: tuple[Target, ...] = ()
        self.breakers = Breakers()
        self._providers: dict[str, Provider] = {}

    def begin(self, route: Sequence[Target]) -> None:
        """Forget all that was, and have every target of `route` answer `ANSWER`."""
        self.route = tuple(route)
        for target in route:
            self._provider_of(target.provider)  # Made now: loading certificates is no part of a call.
        self.breakers = Breakers()
        self.fake.reset()
        self.fake.script(answer={"text": ANSWER})

    def script(self, position: int, **script: object) -> None:
        """Have the target at `position` (from 1) behave as `script` says; its answer is `ANSWER`."""
        target = self.route[position - 1]
        self.fake.script(
            **{"provider": target.provider, "model": target.model, "answer": {"text": ANSWER}} | script
        )

    def ask(
        self,
        request: Request = QUESTION,
        on_event: Callable[[Run, Event], None] = lambda run, event: None,
    ) -> Seen:
        """Return what a client sees that asks `request`; `on_event` is told each event as it comes."""
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
        return Seen(events, seconds, run.attempts, self.fake.log()[received:], len(alerts))

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
    """Collect what this thread logs at level ERROR about targets."""
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
