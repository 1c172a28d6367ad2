"""Circuit breakers: a target that keeps failing is left alone for a while.

Closed while calls go well. After so many failed calls in a row the circuit
opens and the target is skipped. When its cool-down is over one call is let
through as a probe: success closes the circuit, failure opens it once more.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from llm.canonical import Target

State = Literal["closed", "open", "probing"]

#: Clients may name any model, so what is remembered of failing targets is bounded.
REMEMBERED = 1024


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    #: Monotonic time from which a probe may pass; None while closed.
    probe_at: float | None = None
    probe: Permit | None = None

    @property
    def state(self) -> State:
        if self.probe_at is None:
            return "closed"
        return "probing" if self.probe else "open"


@dataclass(slots=True, eq=False)
class Permit:
    """Leave to call a target once; the caller reports back through exactly one method."""

    breakers: Breakers
    target: Target

    def succeeded(self) -> None:
        """The target answered: what it did before is forgotten."""
        self.breakers.settle(self, "succeeded")

    def failed(self, *, failures: int, seconds: float) -> None:
        """One more failure; the `failures`-th in a row opens the circuit for `seconds`."""
        self.breakers.settle(self, "failed", failures=failures, seconds=seconds)

    def released(self) -> None:
        """The call ended without a verdict, for example cancelled: the next one may probe."""
        self.breakers.settle(self, "released")


class Breakers:
    """One circuit per target, safe under threads. Targets that answer well take no memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._circuits: OrderedDict[Target, _Circuit] = OrderedDict()

    def admit(self, target: Target) -> Permit | None:
        """Return a permit to call `target` now, or None while its circuit is open."""
        permit = Permit(self, target)
        with self._lock:
            circuit = self._circuits.get(target)
            if circuit and circuit.probe_at is not None:
                if circuit.probe or time.monotonic() < circuit.probe_at:
                    return None
                circuit.probe = permit
        return permit

    def settle(self, permit: Permit, verdict: str, *, failures: int = 0, seconds: float = 0.0) -> None:
        with self._lock:
            if verdict == "succeeded":
                self._circuits.pop(permit.target, None)
                return
            circuit = self._circuits.get(permit.target)
            if circuit and circuit.probe is permit:
                circuit.probe = None
            if verdict == "failed":
                circuit = circuit or self._circuits.setdefault(permit.target, _Circuit())
                self._circuits.move_to_end(permit.target)
                circuit.failures += 1
                if circuit.failures >= failures:
                    circuit.probe_at = time.monotonic() + seconds
                if len(self._circuits) > REMEMBERED:
                    self._circuits.popitem(last=False)

    def seconds_until_probe(self, target: Target) -> float:
        """Return how long `target` still refuses calls; 0 when one may try."""
        with self._lock:
            circuit = self._circuits.get(target)
            if circuit is None or circuit.probe_at is None:
                return 0.0
            return max(0.0, circuit.probe_at - time.monotonic())

    def states(self) -> dict[Target, State]:
        """Return the state of every target that has failed since it last answered."""
        with self._lock:
            return {target: circuit.state for target, circuit in self._circuits.items()}


#: Those of this process. Each worker learns for itself: no call waits for shared state.
BREAKERS = Breakers()
