"""What one caller can do to a server at its worst: each attack is a load that keeps many requests open.

    python -m qa.hostile.attacks URL KEY TENANT NAME SECONDS

runs one for that long, in a process of its own so that it does not slow the caller that is measured, and
prints how many responses it got, by status.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import NamedTuple
from urllib.parse import urlsplit

#: Good enough for an account. Not that of the tests' users: importing it would load Django in each attack.
PASSWORD = "correct horse battery"  # noqa: S105 - of no account

CONNECTIONS = 32


class Caller(NamedTuple):
    """The API key and the id of a tenant."""

    key: str
    tenant: str


#: Makes the n-th request of an attack.
MakeRequest = Callable[[Caller, int], bytes]

ATTACKS: dict[str, MakeRequest] = {}


def attack(make: MakeRequest) -> MakeRequest:
    ATTACKS[make.__name__] = make
    return make


def http(method: str, path: str, key: str = "", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    lines += [f"X-API-Key: {key}"] if key else []
    if body and not any(header.startswith("Content-Type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_body(**members: object) -> bytes:
    return json.dumps(members).encode()


# -- without a credential ----------------------------------------------------------------------


@attack
def guesses_passwords(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/auth/login", "", json_body(email=f"{n}@example.com", password=PASSWORD))


@attack
def guesses_passwords_of_the_console(caller: Caller, n: int) -> bytes:
    token = "x" * 32
    form = f"csrfmiddlewaretoken={token}&username={n}%40example.com&password=correct-horse"
    headers = (f"Cookie: csrftoken={token}", "Content-Type: application/x-www-form-urlencoded")
    return http("POST", "/admin/login/", "", form.encode(), *headers)


@attack
def registers(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/auth/register", "", json_body(email=f"{n}@example.net", password=PASSWORD))


@attack
def asks_for_health(caller: Caller, n: int) -> bytes:
    return http("GET", ("/health", "/ready", "/status", "/metrics")[n % 4])


@attack
def sends_paths_that_look_like_tokens(caller: Caller, n: int) -> bytes:
    return http("GET", "/" + "-eyJ" * 4000)


@attack
def asks_with_keys_that_do_not_exist(caller: Caller, n: int) -> bytes:
    return http("GET", "/v1/models", f"cap_sk_live_{n:038d}")


@attack
def sends_bodies_of_a_hundred_thousand_values(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/auth/login", "", b"[" + b"[]," * 100_000 + b"0]")


# -- with the key of a free tenant ------------------------------------------------------------


@attack
def sends_bodies_of_a_million_bytes(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/chat", caller.key, json_body(message="x", metadata={"a": "y" * 1_000_000}))


@attack
def sends_more_messages_than_its_plan_allows(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/chat", caller.key, json_body(message="Hello"))


@attack
def completes_more_than_its_plan_allows(caller: Caller, n: int) -> bytes:
    message = {"role": "user", "content": "Hello"}
    return http("POST", "/v1/chat/completions", caller.key, json_body(model="groq", messages=[message]))


@attack
def reads_one_reply_many_times(caller: Caller, n: int) -> bytes:
    body = json_body(message="Hello", stream=True)
    return http("POST", "/api/chat", caller.key, body, "Idempotency-Key: the-same-every-time")


@attack
def creates_sessions(caller: Caller, n: int) -> bytes:
    return http("POST", "/api/chat/sessions", caller.key, json_body(title="x" * 100, metadata={"n": n}))


@attack
def lists_sessions(caller: Caller, n: int) -> bytes:
    return http("GET", f"/api/chat/tenants/{caller.tenant}/sessions?limit=100", caller.key)


@attack
def searches_messages(caller: Caller, n: int) -> bytes:
    return http("GET", f"/api/chat/tenants/{caller.tenant}/messages?limit=100&search=x{n}", caller.key)


@attack
def reads_analytics(caller: Caller, n: int) -> bytes:
    period = f"from=2024-01-{n % 28 + 1:02d}&to=2026-01-01&interval=day"
    return http("GET", f"/api/chat/tenants/{caller.tenant}/analytics?{period}", caller.key)


async def run(url: str, caller: Caller, make: MakeRequest, seconds: float) -> Counter[str]:
    """Keep `CONNECTIONS` requests open for so long. Return how many responses came, by status or failure."""
    parts = urlsplit(url)
    statuses: Counter[str] = Counter()
    numbers = count()
    end = time.monotonic() + seconds

    async def keep_sending() -> None:
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(max(end + 5 - time.monotonic(), 0)):
                    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                    async for status in _statuses(reader, writer, caller, make, numbers, end):
                        statuses[status] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                statuses[type(error).__name__] += 1

    await asyncio.gather(*(keep_sending() for _ in range(CONNECTIONS)))
    return statuses


async def _statuses(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    caller: Caller,
    make: MakeRequest,
    numbers: Iterator[int],
    end: float,
) -> AsyncIterator[str]:
    try:
        while time.monotonic() < end:
            writer.write(make(caller, next(numbers)))
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            yield head.split(None, 2)[1].decode()
            if b"content-length: " in head:
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
                await reader.readexactly(length)
            else:
                while await reader.readuntil(b"\r\n") != b"0\r\n":
                    pass
                await reader.readuntil(b"\r\n")
    finally:
        writer.close()


if __name__ == "__main__":
    url, key, tenant, name, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(run(url, Caller(key, tenant), ATTACKS[name], float(seconds)))))
