"""Circuit breakers: a target that keeps failing is skipped for a while.

A circuit is closed while calls succeed. After a number of failures in a row it opens and
the target is skipped. After its cool-down one call passes as a probe: success closes the
circuit, failure opens it again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from llm.canonical import Target

State = Literal["closed", "open", "probing"]

#: Clients may name any model, so the number of failing targets kept is bounded.
MAX_CIRCUITS = 1024


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

    def end_probe(self, permit: Permit) -> None:
        if self.probe is permit:
            self.probe = None


@dataclass(slots=True, eq=False)
class Permit:
    """Permission to call a target once; the caller records the outcome or releases it."""

    breakers: Breakers
    target: Target

    def record_success(self) -> None:
        """The target works: its failures so far no longer count."""
        self.breakers.record_success(self)

    def record_failure(self, *, failures: int, seconds: float) -> None:
        """Count one more failure; the `failures`-th in a row opens the circuit for `seconds`."""
        self.breakers.record_failure(self, failures=failures, seconds=seconds)

    def release(self) -> None:
        """The call ended without an outcome, for example cancelled: the next one may probe.

        Does nothing after an outcome was recorded.
        """
        self.breakers.release(self)


class Breakers:
    """One circuit per target, thread-safe. Targets without failures take no memory."""

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

    def record_success(self, permit: Permit) -> None:
        with self._lock:
            self._circuits.pop(permit.target, None)

    def record_failure(self, permit: Permit, *, failures: int, seconds: float) -> None:
        with self._lock:
            circuit = self._circuits.setdefault(permit.target, _Circuit())
            self._circuits.move_to_end(permit.target)
            circuit.end_probe(permit)
            circuit.failures += 1
            if circuit.failures >= failures:
                circuit.probe_at = time.monotonic() + seconds
            if len(self._circuits) > MAX_CIRCUITS:
                self._circuits.popitem(last=False)

    def release(self, permit: Permit) -> None:
        with self._lock:
            if circuit := self._circuits.get(permit.target):
                circuit.end_probe(permit)

    def seconds_until_probe(self, target: Target) -> float:
        """Return how long `target` is still skipped; 0 when it may be called."""
        with self._lock:
            circuit = self._circuits.get(target)
            if circuit is None or circuit.probe_at is None:
                return 0.0
            return max(0.0, circuit.probe_at - time.monotonic())

    def states(self) -> dict[Target, State]:
        """Return the state of every target that has failed since its last success."""
        with self._lock:
            return {target: circuit.state for target, circuit in self._circuits.items()}


#: The breakers of this process. Each worker learns for itself, so that no call waits for shared state.
BREAKERS = Breakers()
