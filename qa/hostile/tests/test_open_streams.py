"""Open streams are bounded per tenant and caller, and leave the times of other requests as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests

from chat.turns.capacity import MIN_PERMITS
from qa.bench.load_generator import Sample, call, make_calls
from qa.hostile.attacks import Caller
from qa.hostile.measure import Neighbour, p95_alone
from qa.hostile.sockets import connections
from qa.testing.waiting import PATIENCE_SECONDS
from tenants.models import Tenant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def read_streams(url: str, caller: Caller, count: int, model: str) -> list[Sample]:
    """Send `count` messages at once and read their streams to the ends."""
    use_model(caller, model)
    body = {"message": "Count.", "stream": True}

    headers = {"X-API-Key": caller.key}
    stream = partial(call, f"{url}/api/chat", headers, body, b"event: delta", b"event: done")
    return make_calls([stream] * count, count)


def use_model(caller: Caller, model: str) -> None:
    """Have the caller's tenant answered by `model` of the fake provider."""
    Tenant.objects.filter(pk=caller.tenant).update(route=[f"groq/{model}"])


def use_beside_streams(url: str, streaming: Caller, caller: Caller, count: int, model: str) -> Neighbour:
    """Return a neighbour that was used while `count` streams were open, all of which were complete."""
    neighbour = Neighbour(url, caller)
    with ThreadPoolExecutor(1) as pool:
        streams = pool.submit(read_streams, url, streaming, count, model)
        while not streams.done():
            neighbour.use()
    assert sum(sample.is_complete for sample in streams.result()) == count
    return neighbour


def test_streams_are_complete_and_another_caller_is_served_beside_them(product, victim, large_attacker):
    neighbour = use_beside_streams(product.url, large_attacker, victim, 200, "tokens-8-every-400ms")
    assert neighbour.messages


@pytest.mark.proof
def test_a_thousand_streams_and_two_thousand_idle_connections_leave_times_within_bounds(
    product, victim, large_attacker
):
    alone = p95_alone(product.url, victim)
    with connections(product.url, b"", 2000):
        neighbour = use_beside_streams(product.url, large_attacker, victim, 1000, "tokens-30-every-1000ms")
    print(f"\n1,000 streams: {neighbour.report(alone)}")
    assert neighbour.is_undisturbed(alone), neighbour.report(alone)


def test_readers_of_one_reply_are_limited_for_each_tenant(product, attacker):
    """Each send with the same Idempotency-Key reads the one running reply."""
    use_model(attacker, "tokens-6-every-500ms")
    body = {"message": "Count.", "stream": True}
    headers = {"X-API-Key": attacker.key, "Idempotency-Key": "the-same"}

    def attach() -> requests.Response:
        return requests.post(f"{product.url}/api/chat", json=body, headers=headers, timeout=PATIENCE_SECONDS)

    with ThreadPoolExecutor(60) as pool:
        responses = list(pool.map(lambda _: attach(), range(60)))
    streams = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code == 429]
    assert len(streams) + len(refused) == 60, responses[0].text
    assert 1 <= len(streams) <= 2 * MIN_PERMITS
    assert {response.json()["code"] for response in refused} == {"too_many_streams"}
    assert {response.headers["Retry-After"] for response in refused} == {"2"}
    assert all("event: done" in response.text for response in streams)
    assert attach().status_code == 200
