"""The time that `llm/` adds to a call, against bare `requests` calls in the same run.

    python -m qa.bench.routing [--calls 200] [--tokens 200]

Both sides call the same fake provider, in its own process, and alternate, so that other load of the
machine affects both. Printed are medians and their ratio. "bare" is what a program without this project
would write: a `requests.Session`, `json.loads` of each line, no checks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import requests

from llm.breaker import Breakers
from llm.canonical import Finished, Message, Request, Target, Text
from llm.policy import Policy
from llm.providers import PROVIDERS
from llm.routing import Run
from qa.bench.environment import fake_provider, set_up_django

KEY = "bench"
QUESTION = "How long does a call take?"


class Ours:
    def __init__(self, url: str, model: str) -> None:
        self.provider = PROVIDERS["groq"](api_key=KEY, base_url=url, model=model)
        self.target = Target("groq", model)
        self.policy = Policy()
        self.breakers = Breakers()

    def __call__(self, stream: bool) -> tuple[float, int]:
        """Return (seconds to the first text, characters of the answer)."""
        began, first, length = time.perf_counter(), 0.0, 0
        run = Run(
            Request(messages=(Message("user", QUESTION),)),
            (self.target,),
            stream=stream,
            policy=self.policy,
            breakers=self.breakers,
            provider_of=lambda name: self.provider,
        )
        for event in run:
            if isinstance(event, Text):
                first = first or time.perf_counter() - began
                length += len(event.text)
        assert isinstance(event, Finished)  # noqa: S101 - a failed run is no measurement
        return first, length


class Bare:
    def __init__(self, url: str, model: str) -> None:
        self.session = requests.Session()
        self.url = f"{url}/chat/completions"
        self.model = model

    def __call__(self, stream: bool) -> tuple[float, int]:
        began, first, length = time.perf_counter(), 0.0, 0
        messages = [{"role": "user", "content": QUESTION}]
        response = self.session.post(
            self.url,
            json={"model": self.model, "messages": messages, "stream": stream},
            headers={"Authorization": f"Bearer {KEY}"},
            stream=stream,
            timeout=10,
        )
        if not stream:
            return 0.0, len(response.json()["choices"][0]["message"]["content"])
        for line in response.iter_lines(chunk_size=None):
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        first = first or time.perf_counter() - began
                        length += len(text)
        return first, length


def measure(call: Callable[[bool], tuple[float, int]], stream: bool) -> tuple[float, float, float]:
    """Return (seconds, CPU seconds of this process, seconds to the first text) of one call."""
    cpu, began = time.process_time(), time.perf_counter()
    first, length = call(stream)
    assert length  # noqa: S101 - an empty answer is no measurement
    return time.perf_counter() - began, time.process_time() - cpu, first


def compare(url: str, model: str, calls: int, stream: bool) -> dict[str, list[tuple[float, float, float]]]:
    sides: dict[str, Callable[[bool], tuple[float, int]]] = {
        "llm": Ours(url, model),
        "bare": Bare(url, model),
    }
    for side in sides.values():
        side(stream)  # The first call opens the connection.
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    for _ in range(calls):
        for name, side in sides.items():
            figures[name].append(measure(side, stream))
    return figures


def row(what: str, figures: dict[str, list[tuple[float, float, float]]], column: int, per: int = 1) -> str:
    ours, bare = (
        statistics.median(sample[column] for sample in figures[name]) / per for name in ("llm", "bare")
    )
    return (
        f"{what:<34} {ours * 1e6:>10.1f} {bare * 1e6:>10.1f} {(ours - bare) * 1e6:>10.1f} {ours / bare:>7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    set_up_django()
    with fake_provider() as url:
        whole = compare(url, "bench", options.calls, stream=False)
        short = compare(url, "bench", options.calls, stream=True)
        long = compare(url, f"tokens-{options.tokens}", max(1, options.calls // 4), stream=True)
    print(f"{'median, microseconds':<34} {'llm':>10} {'bare':>10} {'added':>10} {'ratio':>7}")
    print(row("whole answer", whole, 0))
    print(row("whole answer, CPU", whole, 1))
    print(row("first token", short, 2))
    print(row(f"stream, a token of {options.tokens}", long, 0, per=options.tokens))
    print(row(f"stream, a token of {options.tokens}, CPU", long, 1, per=options.tokens))


if __name__ == "__main__":
    main()
