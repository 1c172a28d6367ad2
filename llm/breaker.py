"""Circuit breakers: a target that keeps failing is skipped for a while.

A circuit is closed while calls succeed. After a number of failures in a row it opens and
the target is skipped. After its cool-down one call passes as a probe: success closes the
circuit, failure opens it again.

Each origin of calls (a tenant) has its own circuit for a target, and all share another. In the
shared one the failures of one origin count only up to a part of those that open it: an origin that
provokes failures is skipped alone, while an outage, which all origins see, opens it for all.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from llm.canonical import Target

State = Literal["closed", "open", "probing"]

#: Clients may name any model, so the number of failing targets kept is bounded, of each kind of circuit.
MAX_CIRCUITS = 1024

#: Of that many origins the failures are counted apart, in a shared circuit.
_MAX_ORIGINS = 64


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    #: Monotonic time from which a probe may pass; None while closed.
    probe_at: float | None = None
    probe: Permit | None = None
    #: Counted failures by origin, of a shared circuit.
    by_origin: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> State:
        if self.probe_at is None:
            return "closed"
        return "probing" if self.probe else "open"

    def is_blocking(self) -> bool:
        return self.probe_at is not None and (self.probe is not None or time.monotonic() < self.probe_at)

    def end_probe(self, permit: Permit) -> None:
        if self.probe is permit:
            self.probe = None

    def fail(self, *, failures: int, seconds: float) -> None:
        self.failures += 1
        if self.failures >= failures:
            self.probe_at = time.monotonic() + seconds

    def fail_for(self, origin: str, *, failures: int, seconds: float) -> None:
        """Count a failure unless `origin` has its share of those that open the circuit."""
        share = max(1, (failures - 1) // 2)
        count = self.by_origin.get(origin, 0)
        if count >= share or (not count and len(self.by_origin) >= _MAX_ORIGINS):
            return
        self.by_origin[origin] = count + 1
        if len(self.by_origin) > 1:
            self.failures = max(self.failures, sum(self.by_origin.values()) - 1)
            self.fail(failures=failures, seconds=seconds)


@dataclass(slots=True, eq=False)
class Permit:
    """Permission to call a target once; the caller records the outcome or releases it."""

    breakers: Breakers
    target: Target
    origin: str = ""

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
    """The circuits of targets, thread-safe. Targets without failures take no memory.

    `origin` is whose call it is; calls without one have an origin in common.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: OrderedDict[Target, _Circuit] = OrderedDict()
        self._own: OrderedDict[tuple[Target, str], _Circuit] = OrderedDict()

    def admit(self, target: Target, origin: str = "") -> Permit | None:
        """Return a permit to call `target` now, or None while a circuit of it is open."""
        permit = Permit(self, target, origin)
        with self._lock:
            circuits = self._circuits(target, origin)
            if any(circuit.is_blocking() for circuit in circuits):
                return None
            for circuit in circuits:
                if circuit.probe_at is not None:
                    circuit.probe = permit
        return permit

    def record_success(self, permit: Permit) -> None:
        with self._lock:
            self._shared.pop(permit.target, None)
            self._own.pop((permit.target, permit.origin), None)

    def record_failure(self, permit: Permit, *, failures: int, seconds: float) -> None:
        target, origin = permit.target, permit.origin
        with self._lock:
            own = _kept(self._own, (target, origin), MAX_CIRCUITS)
            shared = _kept(self._shared, target, MAX_CIRCUITS)
            own.end_probe(permit)
            shared.end_probe(permit)
            own.fail(failures=failures, seconds=seconds)
            shared.fail_for(origin, failures=failures, seconds=seconds)

    def release(self, permit: Permit) -> None:
        with self._lock:
            for circuit in self._circuits(permit.target, permit.origin):
                circuit.end_probe(permit)

    def seconds_until_probe(self, target: Target, origin: str = "") -> float:
        """Return how long `target` is still skipped; 0 when it may be called."""
        with self._lock:
            times = [circuit.probe_at for circuit in self._circuits(target, origin)]
            return max([0.0, *(at - time.monotonic() for at in times if at is not None)])

    def states(self) -> dict[Target, State]:
        """Return the state of every target that has failed since its last success, for whatever origin."""
        with self._lock:
            circuits = [*((target, own) for (target, _), own in self._own.items()), *self._shared.items()]
        states: dict[Target, State] = {}
        for target, circuit in circuits:
            states[target] = max(states.get(target, "closed"), circuit.state, key=_SEVERITY.index)
        return states

    def _circuits(self, target: Target, origin: str) -> list[_Circuit]:
        found = (self._own.get((target, origin)), self._shared.get(target))
        return [circuit for circuit in found if circuit is not None]


_SEVERITY: list[State] = ["closed", "probing", "open"]

_Key = TypeVar("_Key")


def _kept(circuits: OrderedDict[_Key, _Circuit], key: _Key, most: int) -> _Circuit:
    """Return the circuit of `key`, as the one used last; of more than `most` the oldest is dropped."""
    circuit = circuits.setdefault(key, _Circuit())
    circuits.move_to_end(key)
    if len(circuits) > most:
        circuits.popitem(last=False)
    return circuit


#: The breakers of this process. Each worker learns for itself, so that no call waits for shared state.
BREAKERS = Breakers()
