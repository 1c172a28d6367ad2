"""Turns of tests: the events of a streamed answer, and replies and usage after their settlement."""

from __future__ import annotations

import json
from typing import Any

from bson import ObjectId

from chat.models import ChatSession, Message
from chat.turns import replies, settlement
from qa.testing.waiting import PATIENCE_SECONDS, wait_until
from tenants.models import Tenant, Usage

#: The events that end a stream: nothing may follow.
FINAL = {"done", "error"}


def messages(session: ChatSession) -> str:
    """Return the path of a session's messages."""
    return f"/api/chat/sessions/{session.pk}/messages"


def events(response: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (name, id, data) of every event of a streamed answer of Django's test client."""
    found = []
    for block in b"".join(response.streaming_content).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
        if fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    assert not FINAL & {name for name, _, _ in found[:-1]}, "an event came after the end"
    return found


def settled(reply_id: str) -> Message:
    """Return the reply once ledger, quota and session counters have followed it.

    This process's background thread may be settling it at the moment: afterwards it writes no more.
    """
    settlement.settle(replies.unsettled({"_id": ObjectId(reply_id)}))
    settlement.finish(PATIENCE_SECONDS)
    return Message.objects.get(pk=reply_id)


def settled_usage(tenant: Tenant) -> Usage:
    """Return the tenant's usage once no run of it is open any more."""
    wait_until(lambda: Usage.objects.of(tenant).live == 0, "every run is settled")
    return Usage.objects.of(tenant)
