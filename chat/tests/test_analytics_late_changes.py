"""Changes of messages that are already rolled up appear in the metrics."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from chat.models import ChatSession, Message

YESTERDAY = timezone.now() - timedelta(days=1)


@pytest.fixture
def reply(session) -> Message:
    """A failed reply from yesterday."""
    common = {"session": session, "tenant": session.tenant, "provider": "groq", "model": "groq-model"}
    asked = Message.objects.create(session=session, tenant=session.tenant, seq=1, role="user", content="Hi")
    failed = Message.objects.create(
        **common, seq=2, role="assistant", status="failed", in_reply_to=asked, settled=True
    )
    ChatSession.objects.filter(pk=session.pk).update(created_at=YESTERDAY)
    Message.objects.filter(session=session).update(created_at=YESTERDAY, finished_at=YESTERDAY)
    return failed


def totals(client, session) -> dict:
    path = f"/api/chat/tenants/{session.tenant_id}/analytics?interval=hour"
    start = (YESTERDAY - timedelta(hours=30)).strftime("%Y-%m-%dT%H:00:00Z")
    for _ in range(2):  # The first request rolls up, the second reads the roll-up.
        response = client.get(f"{path}&from={start}")
        assert response.status_code == 200, response.content
    return response.json()["totals"]


def test_late_feedback_is_counted(fake, site, session, reply):
    assert totals(site, session)["feedback"] == {"up": 0, "down": 0}
    path = f"/api/chat/sessions/{session.pk}/messages/{reply.pk}/feedback"
    assert site.put(path, {"rating": "up"}).status_code == 200
    assert totals(site, session)["feedback"] == {"up": 1, "down": 0}


def test_a_late_retry_is_counted(fake, site, session, reply):
    assert totals(site, session)["replies"]["failed"] == 1
    assert site.post(f"/api/chat/sessions/{session.pk}/messages/{reply.pk}/retry", {}).status_code == 200
    after = totals(site, session)["replies"]
    assert (after["failed"], after["complete"]) == (0, 1)
