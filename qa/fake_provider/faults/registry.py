"""The faults by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from qa.fake_provider.call import Call

TICK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault with its parameters; see the package."""

    name: str
    after: int = 3
    wait: float = 1.0
    times: int | None = None
    seconds: float | None = None


Fault = Callable[[FaultSpec, Call], Awaitable[None]]

FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return register
