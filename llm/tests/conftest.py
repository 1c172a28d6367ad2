"""The cast of the wire's tests: a fake provider, and ours pointed at it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from llm import canonical
from llm.errors import ProviderError
from llm.providers import PROVIDERS, Limits, Provider
from llm.providers.exchange import Exchange
from qa.fake_provider.server import FakeProvider

KEY = "good-key-of-the-tests"

#: Short enough for a fast suite, long enough for a busy machine.
LIMITS = Limits(first_token_seconds=5, between_tokens_seconds=5, total_seconds=20)

WEATHER = canonical.Tool(
    "get_weather",
    "Tells the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = canonical.Tool("get_time")


@dataclass
class Outcome:
    """What one call came to: its events, and the completion or the error."""

    exchange: Exchange
    events: list[canonical.Event] = field(default_factory=list)
    completion: canonical.Completion | None = None
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, canonical.Text))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, canonical.Reasoning))

    @property
    def partial(self) -> canonical.Completion:
        return self.exchange.partial


def asking(prompt: str = "Hello there", **fields: object) -> canonical.Request:
    return canonical.Request((canonical.Message("user", prompt),), **fields)


def outcome_of(exchange: Exchange) -> Outcome:
    """Read `exchange` to its end and check what holds for every one of them."""
    outcome = Outcome(exchange)
    try:
        for event in exchange:
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


@pytest.fixture(scope="session")
def _running_fake() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture
def fake(_running_fake: FakeProvider) -> FakeProvider:
    _running_fake.reset()
    return _running_fake


@pytest.fixture
def provider(fake: FakeProvider) -> Callable[..., Provider]:
    """Return a provider by name, pointed at the fake one."""

    def make(name: str, *, api_key: str = KEY, base_url: str = "") -> Provider:
        url = base_url or fake.base_url(name)
        return PROVIDERS[name](api_key=api_key, base_url=url, model="fake-large")

    return make


@pytest.fixture
def call(provider: Callable[..., Provider]) -> Callable[..., Outcome]:
    """Return what one call came to."""

    def make(
        name: str = "groq",
        model: str = "fake-large",
        *,
        request: canonical.Request | None = None,
        stream: bool = True,
        limits: Limits = LIMITS,
        of: Provider | None = None,
    ) -> Outcome:
        chosen = of or provider(name)
        return outcome_of(chosen.open(request or asking(), model, stream=stream, limits=limits))

    return make


@pytest.fixture
def answers(fake: FakeProvider, call: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Return what a call comes to that is answered with these very bytes.

    `pieces` are texts, bytes or seconds to pause; see `qa.fake_provider.server.Script`.
    """

    def make(
        *pieces: str | bytes | float,
        name: str = "groq",
        end: str = "clean",
        status: int = 200,
        headers: dict[str, str] | None = None,
        framed: bool = True,
        **asked: object,
    ) -> Outcome:
        encoded = [
            {"base64": base64.b64encode(piece).decode()} if isinstance(piece, bytes) else piece
            for piece in pieces
        ]
        fake.script(
            provider=name,
            raw={
                "status": status,
                "headers": headers or {},
                "pieces": encoded,
                "end": end,
                "framed": framed,
            },
        )
        return call(name, **asked)

    return make
