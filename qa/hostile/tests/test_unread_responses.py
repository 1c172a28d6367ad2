"""Clients that do not read what they asked for take no memory of a worker."""

from __future__ import annotations

import pytest

from chat.models import ChatSession, Message
from core.server.adapter import UNREAD_SECONDS
from qa.hostile.attacks import Caller
from qa.hostile.sockets import connections
from qa.testing.server import RunningServer
from qa.testing.waiting import PATIENCE_SECONDS, wait_until
from tenants.models import Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

MEBIBYTE = 1024 * 1024
TEXT = "x" * 8 * MEBIBYTE
CLIENTS = 30
#: What all workers may need more while the responses are unread; the responses have 240 MiB.
MAX_BYTES = 120 * MEBIBYTE


@pytest.fixture
def reply(victim: Caller) -> Message:
    """A stored reply of 8 MiB."""
    session = ChatSession.objects.create(tenant=Tenant.objects.get(pk=victim.tenant))
    return Message.objects.create(
        tenant=session.tenant, session=session, seq=1, role="assistant", status="complete", content=TEXT
    )


def memory(server: RunningServer) -> int:
    return sum(worker.memory_info().rss for worker in server.workers())


@pytest.mark.parametrize("path", ["", "/stream"])
def test_large_responses_that_are_not_read_take_no_memory(product, victim, reply, path):
    request = (
        f"GET /api/chat/sessions/{reply.session_id}/messages/{reply.pk}{path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1\r\nX-API-Key: {victim.key}\r\n\r\n"
    ).encode()

    def is_small() -> bool:
        for _ in range(50):  # What the requests left behind is collected with time.
            product.is_answering()
        return memory(product) - before < MAX_BYTES

    before = memory(product)
    with connections(product.url, request, CLIENTS, buffer_bytes=4096) as group:
        # Every client has the beginning of its response, and leaves the rest.
        wait_until(lambda: group.answered() == CLIENTS, "all have an answer", PATIENCE_SECONDS)
        # Before any of them is disconnected.
        wait_until(is_small, "only the clients wait for the rest", UNREAD_SECONDS / 2)
