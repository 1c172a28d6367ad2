"""Bodies are read within limits of size, time and memory."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.server import bodies
from core.server.bodies import (
    BodyIncomplete,
    BodyInPieces,
    BodyLimits,
    BodyReader,
    BodyTooLarge,
    BodyTooSlow,
    NoMemoryForBody,
)

ADDRESS = "192.0.2.1"


class Body:
    """Chunks that arrive one by one; after them nothing comes any more if it `stalls`.

    As from granian, an empty chunk follows the last one, and two if the body `breaks`.
    """

    def __init__(
        self, *chunks: bytes, stalls: bool = False, breaks: bool = False, every_seconds: float = 0
    ) -> None:
        self._chunks = chunks
        self._stalls = stalls
        self._breaks = breaks
        self._every_seconds = every_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(self._every_seconds)
            yield chunk
        if self._stalls:
            await asyncio.Event().wait()
        yield b""
        if self._breaks:
            yield b""


def reader(**limits) -> BodyReader:
    defaults = {"max_memory": 1000, "stall_seconds": 30, "total_seconds": 60}
    return BodyReader(limits=BodyLimits(limits.pop("max_bytes", 100)), **defaults | limits)


def read(body: Body, headers: dict[str, str], **limits) -> bytes:
    return asyncio.run(reader(**limits).read(headers, body, ADDRESS))


CHUNKED = {"transfer-encoding": "chunked"}


def test_a_body_is_joined_from_its_chunks():
    assert read(Body(b"ab", b"cd"), {"content-length": "4"}) == b"abcd"
    assert read(Body(b"ab", b"cd"), CHUNKED) == b"abcd"
    assert read(Body(), {"content-length": "0"}) == b""


def test_a_request_that_announces_no_body_is_not_read():
    assert read(Body(stalls=True), {}) == b""


def test_a_body_that_announces_too_much_is_not_read():
    with pytest.raises(BodyTooLarge):
        read(Body(stalls=True), {"content-length": "101"})


def test_a_body_that_grows_too_large_is_not_read_further():
    with pytest.raises(BodyTooLarge):
        read(Body(b"x" * 60, b"x" * 60, stalls=True), CHUNKED)


def test_a_body_that_stalls_is_given_up():
    with pytest.raises(BodyTooSlow):
        read(Body(b"x", stalls=True), CHUNKED, stall_seconds=0.01)


def test_a_body_that_trickles_is_given_up_in_the_end():
    with pytest.raises(BodyTooSlow):
        read(Body(*[b"x"] * 100, every_seconds=0.01), CHUNKED, stall_seconds=0.5, total_seconds=0.1)


@pytest.mark.parametrize("headers", [CHUNKED, {"content-length": "4"}])
def test_a_body_that_breaks_off_is_not_a_shorter_body(headers):
    with pytest.raises(BodyIncomplete):
        read(Body(b"{}", breaks=True), headers)


def test_a_body_comes_in_pieces_of_some_size():
    large = {"max_bytes": 1_000_000, "max_memory": 4_000_000}
    assert len(read(Body(*[b"x"] * 1000), CHUNKED, **large)) == 1000
    assert len(read(Body(*[b"x" * 500] * 1900), CHUNKED, **large)) == 950_000
    with pytest.raises(BodyInPieces):
        read(Body(*[b"x"] * 2000, stalls=True), CHUNKED, **large)


def test_unfinished_bodies_of_one_address_take_a_quarter_of_the_memory():
    async def scenario() -> None:
        bodies = reader(max_bytes=1000)
        unfinished = Body(b"x" * 200, stalls=True)
        reading = asyncio.create_task(bodies.read(CHUNKED, unfinished, ADDRESS))
        await asyncio.sleep(0.01)
        with pytest.raises(NoMemoryForBody):
            await bodies.read(CHUNKED, Body(b"x" * 51), ADDRESS)
        assert await bodies.read(CHUNKED, Body(b"x" * 51), "192.0.2.2") == b"x" * 51
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await bodies.read(CHUNKED, Body(b"x" * 51), ADDRESS) == b"x" * 51

    asyncio.run(scenario())


def test_all_unfinished_bodies_together_take_the_memory():
    async def scenario() -> None:
        bodies = reader(max_bytes=1000)
        reading = [
            asyncio.create_task(bodies.read(CHUNKED, Body(b"x" * 250, stalls=True), f"192.0.2.{number}"))
            for number in range(4)
        ]
        await asyncio.sleep(0.01)
        with pytest.raises(NoMemoryForBody):
            await bodies.read(CHUNKED, Body(b"x"), "192.0.2.9")
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    asyncio.run(scenario())


def test_a_large_body_takes_memory_until_its_request_has_ended(monkeypatch):
    monkeypatch.setattr(bodies, "LARGE_BYTES", 50)

    async def scenario() -> None:
        reading = reader(max_bytes=1000)
        for _ in range(20):
            await reading.read(CHUNKED, Body(b"x" * 50), ADDRESS)
        large = await reading.read(CHUNKED, Body(b"x" * 200), ADDRESS)
        with pytest.raises(NoMemoryForBody):
            await reading.read(CHUNKED, Body(b"x" * 51), ADDRESS)
        reading.release(ADDRESS, len(large))
        assert len(await reading.read(CHUNKED, Body(b"x" * 250), ADDRESS)) == 250

    asyncio.run(scenario())


def test_the_end_of_a_path_decides_on_its_limit():
    limits = BodyLimits(1, {"/a": 2})
    assert [limits.of(path) for path in ("/", "/a", "/below/a", "/a/x")] == [1, 2, 2, 1]
