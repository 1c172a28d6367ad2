"""Fair admission: who gets the next slot, and how many one caller can hold."""

import asyncio
from collections.abc import Awaitable

import pytest

from core.server.slots import Caller, FairSlots, NoSlot, Slot, held_by_this_thread, release_current

ALICE = Caller("192.0.2.1", "alice")
BOB = Caller("192.0.2.1", "bob")
CAROL = Caller("192.0.2.2", "carol")


def slots_of(number: int, *, max_waiting: int = 100, max_wait_seconds: float = 60) -> FairSlots:
    return FairSlots(number, max_waiting=max_waiting, max_wait_seconds=max_wait_seconds)


async def settled() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Requests:
    """Requests for slots, each named by its caller's credential."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.admitted: list[str] = []
        self.held: list[tuple[str, Slot]] = []
        self.refused: list[str] = []
        self._tasks: list[Awaitable[None]] = []

    async def send(self, *callers: Caller) -> None:
        for caller in callers:
            self._tasks.append(asyncio.create_task(self._request(caller)))
            await settled()

    async def _request(self, caller: Caller) -> None:
        try:
            slot = await self.slots.acquire(caller)
        except NoSlot:
            self.refused.append(caller.credential)
            return
        self.admitted.append(caller.credential)
        self.held.append((caller.credential, slot))

    async def end_one(self, credential: str | None = None) -> None:
        index = next(i for i, (held, _) in enumerate(self.held) if credential in (None, held))
        self.held.pop(index)[1].release()
        await settled()


@pytest.fixture
def requests() -> Requests:
    return Requests(slots_of(8))


def test_one_credential_holds_at_most_a_quarter_of_the_slots(requests):
    async def scenario() -> None:
        await requests.send(ALICE, ALICE, ALICE)
        assert requests.admitted == ["alice", "alice"]
        await requests.send(BOB)
        assert requests.admitted == ["alice", "alice", "bob"]

    asyncio.run(scenario())


def test_one_address_leaves_half_of_the_slots_to_others(requests):
    async def scenario() -> None:
        await requests.send(ALICE, ALICE, BOB, BOB, Caller(ALICE.address, "dave"), CAROL)
        assert requests.admitted == ["alice", "alice", "bob", "bob", "carol"]

    asyncio.run(scenario())


def test_waiting_requests_are_admitted_in_turn_by_address_then_by_credential():
    async def scenario() -> None:
        requests = Requests(slots_of(1))
        await requests.send(ALICE)
        await requests.send(ALICE, ALICE, ALICE, BOB, CAROL)
        assert requests.admitted == ["alice"]
        for _ in range(5):
            await requests.end_one()
        assert requests.admitted[1:] == ["alice", "carol", "bob", "alice", "alice"]

    asyncio.run(scenario())


def test_a_caller_with_a_thousand_requests_delays_another_by_at_most_one():
    async def scenario() -> None:
        requests = Requests(slots_of(1, max_waiting=10_000))
        await requests.send(ALICE)
        await requests.send(*[ALICE] * 1000)
        await requests.send(BOB, CAROL)
        for _ in range(3):
            await requests.end_one()
        assert set(requests.admitted[1:]) == {"alice", "bob", "carol"}

    asyncio.run(scenario())


def test_a_released_slot_is_free_once(requests):
    async def scenario() -> None:
        await requests.send(ALICE)
        (_, slot) = requests.held[0]
        slot.release()
        slot.release()
        await settled()
        await requests.send(*[Caller(f"192.0.2.{number}") for number in range(10, 20)])
        assert len(requests.admitted) == 1 + 8

    asyncio.run(scenario())


def test_the_slot_of_a_thread_is_released_where_its_request_begins_to_wait(requests):
    async def scenario() -> None:
        await requests.send(ALICE, ALICE, ALICE)
        (_, slot) = requests.held[0]
        with held_by_this_thread(slot):
            release_current()
            await settled()
            assert requests.admitted == ["alice"] * 3
        release_current()  # a thread without a request
        await settled()
        assert len(requests.admitted) == 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("waiting", "caller"),
    [
        ([ALICE] * 2, ALICE),  # a quarter of one credential
        ([ALICE] * 2 + [BOB] * 2, Caller("192.0.2.1", "dave")),  # half of one address
        ([Caller(f"192.0.2.{n}", "x") for n in range(10, 18)], CAROL),  # all
    ],
)
def test_a_queue_that_is_full_refuses_at_once(waiting, caller):
    async def scenario() -> None:
        requests = Requests(slots_of(1, max_waiting=8))
        await requests.send(Caller("198.51.100.1", "first"), *waiting)
        assert requests.refused == []
        await requests.send(caller)
        assert requests.refused == [caller.credential]

    asyncio.run(scenario())


def test_a_request_that_waits_too_long_is_refused_and_takes_no_slot():
    async def scenario() -> None:
        requests = Requests(slots_of(1, max_wait_seconds=0.01))
        await requests.send(ALICE, BOB)
        await asyncio.sleep(0.05)
        assert requests.refused == ["bob"]
        assert requests.slots.waiting == 0
        await requests.end_one()
        await requests.send(CAROL)
        assert requests.admitted == ["alice", "carol"]

    asyncio.run(scenario())


def test_a_slot_that_comes_in_the_instant_of_the_time_limit_is_not_lost():
    async def scenario() -> None:
        slots = slots_of(1)
        first = await slots.acquire(ALICE)
        waiting = asyncio.create_task(slots.acquire(BOB))
        await settled()
        first.release()
        await asyncio.sleep(0)  # the slot is given to the waiting request, which has not run yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await settled()
        async with asyncio.timeout(1):
            await slots.acquire(CAROL)

    asyncio.run(scenario())
