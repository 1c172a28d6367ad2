"""Fair admission of requests to a fixed number of slots.

Waiting requests are admitted in turn by client address, and for one address in turn by credential: however
many requests one caller sends, another one's next request waits for at most one of them per slot.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: The share of all slots that one credential, and one address, can hold. The rest stays for others.
CREDENTIAL_SHARE = 1 / 4
ADDRESS_SHARE = 1 / 2


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request is counted for: its address, and the credential it sent, whether valid or not."""

    address: str
    credential: str = ""


class NoSlot(Exception):
    """Too many requests wait already, or none of the slots became free in time."""


class FairSlots:
    """Slots for requests. Except for what says otherwise, used on the event loop alone."""

    def __init__(self, slots: int, *, max_waiting: int, max_wait_seconds: float) -> None:
        self._free = slots
        self._max_of_credential = max(1, int(slots * CREDENTIAL_SHARE))
        self._max_of_address = max(1, int(slots * ADDRESS_SHARE))
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._running: Counter[str | Caller] = Counter()
        self._waiting: OrderedDict[str, _WaitingOfAddress] = OrderedDict()
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return self._count

    async def acquire(self, caller: Caller) -> Slot:
        """Return a slot once it is this caller's turn. Raises NoSlot after `max_wait_seconds`.

        It also raises NoSlot at once when `max_waiting` requests wait already, half as many of this address,
        or a quarter as many of this credential.
        """
        queue = self._waiting.get(caller.address)
        if queue is None and self._has_room_for(caller):
            return self._admit(caller)
        of_address = queue.count if queue else 0
        of_credential = len(queue.by_credential.get(caller.credential, ())) if queue else 0
        limit = self._max_waiting
        if self._count >= limit or of_address >= limit / 2 or of_credential >= limit / 4:
            raise NoSlot
        return await self._wait(caller)

    async def _wait(self, caller: Caller) -> Slot:
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller.address, _WaitingOfAddress()).add(caller.credential, turn)
        self._count += 1
        self._admit_waiting()
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                return await turn
        except BaseException as error:
            self._forget(caller, turn)
            if turn.done() and not turn.cancelled():  # admitted in the moment in which the time was over
                turn.result().release()
            raise NoSlot from error

    def _forget(self, caller: Caller, turn: asyncio.Future[Slot]) -> None:
        queue = self._waiting.get(caller.address)
        if queue is not None and queue.remove(caller.credential, turn):
            self._count -= 1
            if not queue.count:
                del self._waiting[caller.address]

    def _has_room_for(self, caller: Caller) -> bool:
        return (
            self._free > 0
            and self._running[caller] < self._max_of_credential
            and self._running[caller.address] < self._max_of_address
        )

    def _admit(self, caller: Caller) -> Slot:
        self._free -= 1
        self._running[caller] += 1
        self._running[caller.address] += 1
        return Slot(asyncio.get_running_loop(), lambda: self._release(caller))

    def _release(self, caller: Caller) -> None:
        self._free += 1
        for counted in (caller, caller.address):
            self._running[counted] -= 1
            if not self._running[counted]:
                del self._running[counted]
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._free and (caller := self._next_caller()):
            queue = self._waiting[caller.address]
            turn = queue.pop(caller.credential)
            self._count -= 1
            if queue.count:
                self._waiting.move_to_end(caller.address)
            else:
                del self._waiting[caller.address]
            turn.set_result(self._admit(caller))

    def _next_caller(self) -> Caller | None:
        """Return the caller whose turn it is, None if all that wait hold their share of slots."""
        for address, queue in self._waiting.items():
            for credential in queue.by_credential:
                caller = Caller(address, credential)
                if self._has_room_for(caller):
                    return caller
        return None


class _WaitingOfAddress:
    """What waits of one address, in turn by credential."""

    def __init__(self) -> None:
        self.by_credential: OrderedDict[str, deque[asyncio.Future[Slot]]] = OrderedDict()
        self.count = 0

    def add(self, credential: str, turn: asyncio.Future[Slot]) -> None:
        self.by_credential.setdefault(credential, deque()).append(turn)
        self.count += 1

    def pop(self, credential: str) -> asyncio.Future[Slot]:
        turn = self.by_credential[credential].popleft()
        self.by_credential.move_to_end(credential)
        self._removed(credential)
        return turn

    def remove(self, credential: str, turn: asyncio.Future[Slot]) -> bool:
        if turn not in self.by_credential.get(credential, ()):
            return False
        self.by_credential[credential].remove(turn)
        self._removed(credential)
        return True

    def _removed(self, credential: str) -> None:
        self.count -= 1
        if not self.by_credential[credential]:
            del self.by_credential[credential]


class Slot:
    """What one admitted request holds. `release` may be called in any thread, and more than once."""

    __slots__ = ("_loop", "_release")

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[], None]) -> None:
        self._loop = loop
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            self._loop.call_soon_threadsafe(release)


_current = threading.local()


@contextmanager
def held_by_this_thread(slot: Slot) -> Iterator[None]:
    """Within it, `release_current` in this thread releases `slot`; it is released at the end."""
    _current.slot = slot
    try:
        yield
    finally:
        _current.slot = None
        slot.release()


def release_current() -> None:
    """Release the slot of the request that this thread runs, if it has one: from here on it mostly waits.

    The number of threads that wait has to be limited by the code that lets them wait.
    """
    slot: Slot | None = getattr(_current, "slot", None)
    if slot is not None:
        slot.release()
