"""All queries of requests use indexes."""

from __future__ import annotations

from django.db import connection

from chat.models import ChatSession, Message
from qa.testing.chat import settled


def test_chat_queries_use_indexes(fake, site, dave_client, acme, session, commands):
    chat = f"/api/chat/sessions/{session.pk}"
    tenant = f"/api/chat/tenants/{acme.pk}"
    with commands.recording() as recording:
        for client in (site, dave_client):
            answer = client.post(f"{chat}/messages", {"message": "Hello"}, HTTP_IDEMPOTENCY_KEY="once")
            assert answer.status_code == 201
            reply = answer.json()["reply"]["id"]
            settled(reply)
            requests = [
                client.post(f"{chat}/messages", {"message": "Hello"}, HTTP_IDEMPOTENCY_KEY="once"),
                client.get(chat),
                client.put(chat, {"title": "Talk"}),
                client.get(f"{chat}/messages"),
                client.get(f"{chat}/messages?ordering=-seq"),
                client.get(f"{chat}/messages/{reply}"),
                client.put(f"{chat}/messages/{reply}/feedback", {"rating": "up"}),
                client.post(f"{chat}/messages/{reply}/cancel"),
                client.get(f"{chat}/export?format=markdown"),
                client.get(f"{tenant}/sessions"),
                client.get(f"{tenant}/sessions?ordering=-created_at&status=active"),
                client.get(f"{tenant}/sessions?visitor=v_1"),
                client.get(f"{tenant}/sessions?user_id={session.user_id}"),
                client.get(f"{tenant}/messages"),
            ]
            for response in requests:
                assert response.status_code in (200, 201), response.content
            b"".join(requests[8].streaming_content)
        assert site.post("/api/chat", {"message": "Hello"}).status_code == 200
        assert dave_client.delete(chat).status_code == 204

    assert len(recording.commands) > 50
    assert recording.slow_queries(connection.database) == []


def test_queries_without_an_index_are_detected(acme, session, commands):
    """A test of the check itself."""
    with commands.recording() as recording:
        list(ChatSession.objects.filter(title="Talk"))
        list(ChatSession.objects.filter(tenant=acme).order_by("title"))

    assert len(recording.slow_queries(connection.database)) == 2


def test_a_turn_reads_no_more_messages_than_it_may_send(fake, site, session, commands):
    Message.collection().insert_many(
        [
            {"session_id": session.pk, "tenant_id": session.tenant_id, "seq": seq, "role": "user"}
            | {"content": "Hello", "status": "complete"}
            for seq in range(1, 2001)
        ]
    )
    with commands.recording() as recording:
        answer = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"})
    assert answer.status_code == 201

    [read] = [c for c in recording.commands if str(c) == "aggregate chat_chatsession"]
    question = {"aggregate": read.body["aggregate"], "pipeline": read.body["pipeline"], "cursor": {}}
    plan = connection.database.command("explain", question, verbosity="executionStats")
    [look_up] = [stage for stage in plan["stages"] if "$lookup" in stage]
    limit = session.tenant.plan.history_messages
    assert look_up["totalDocsExamined"] <= limit + 2
