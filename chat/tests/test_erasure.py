"""Erasure removes all data of a person; what remains does not identify them."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone

from chat import erasure
from chat.models import ChatSession, Message
from chat.turns import replies, settlement
from core.audit.models import SYSTEM, AuditEvent
from core.mongo.append_only import AppendOnlyError
from qa.testing.chat import settled
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, problem, signed_in
from tenants.models import Erasure, ErasureManifest, LedgerEntry, Tenant, Usage
from tenants.models.erasure import ErasureScope, digest_of


@pytest.fixture
def converse(fake, site, acme):
    """Return a function that opens a session of a visitor and sends messages to it."""

    def send(visitor: str = "v_ada", turns: int = 2, **headers) -> ChatSession:
        body = {"visitor": visitor, "metadata": {"name": "Ada"}}
        opened = site.post("/api/chat/sessions", body, **headers).json()
        for number in range(turns):
            url = f"/api/chat/sessions/{opened['id']}/messages"
            sent = site.post(url, {"message": f"Question {number}"}).json()
            settled(sent["reply"]["id"])
        return ChatSession.objects.get(pk=opened["id"])

    return send


def erase(*options: str) -> dict:
    out = StringIO()
    call_command("erase", *options, stdout=out)
    return json.loads(out.getvalue())


def age_by_an_hour() -> None:
    """Make all messages an hour old. The metrics of deleted ones count once their quarter hour is over."""
    for kind in (ChatSession, Message):
        kind.objects.update(created_at=F("created_at") - timedelta(hours=1))


def collections_with(*needles: object) -> set[str]:
    """Return the names of the collections with a document that contains one of the texts or ids."""
    found = set()
    for name in connection.database.list_collection_names():
        for document in connection.database[name].find():
            if any(str(needle) in str(document) for needle in needles):
                found.add(name)
    return found


def test_erasing_a_visitor_removes_all_their_data(converse, acme):
    mine = [converse(HTTP_IDEMPOTENCY_KEY="open-1"), converse()]
    other = converse("v_bob")
    replies = [str(pk) for pk in Message.objects.filter(session__in=[s.pk for s in mine]).values_list("pk")]
    assert collections_with("v_ada", *(s.pk for s in mine)) >= {"chat_chatsession", "chat_message"}

    manifest = erase("--tenant", str(acme.pk), "--visitor", "v_ada")

    assert len(replies) == 8
    assert collections_with("v_ada", *(session.pk for session in mine)) == set()
    assert Message.objects.filter(session=other).count() == 4
    assert manifest["removed"]["chat_chatsession"]["count"] == 2
    assert manifest["removed"]["chat_message"]["count"] == 8
    assert manifest["cleared"]["tenants_ledgerentry"]["count"] == 4


def test_the_ledger_and_metrics_stay_without_the_person(converse, acme, dave_client):
    converse()
    converse("v_bob")
    age_by_an_hour()
    url = f"/api/chat/tenants/{acme.pk}/analytics"
    before = dave_client.get(url).json()["totals"]
    spent = list(LedgerEntry.objects.order_by("pk").values_list("pk", "tokens", "cost", "messages"))

    erasure.erase_visitor(acme.pk, "v_ada", SYSTEM)

    assert dave_client.get(url).json()["totals"] == before
    assert list(LedgerEntry.objects.order_by("pk").values_list("pk", "tokens", "cost", "messages")) == spent
    assert LedgerEntry.objects.filter(session=None).count() == 2
    assert list(LedgerEntry.objects.drift()) == []


def test_the_stored_response_of_an_erased_session_is_not_replayed(converse, site, acme):
    session = converse(turns=1, HTTP_IDEMPOTENCY_KEY="open-1")
    erasure.erase_visitor(acme.pk, "v_ada", SYSTEM)

    body = {"visitor": "v_ada", "metadata": {"name": "Ada"}}
    again = site.post("/api/chat/sessions", body, HTTP_IDEMPOTENCY_KEY="open-1")

    assert again.status_code == 201
    assert again.json()["id"] != str(session.pk)
    assert "Idempotent-Replayed" not in again


def test_the_manifest_records_what_when_and_by_whom(converse, acme, alice):
    session = converse(turns=1)
    first = Message.objects.filter(session=session).earliest("seq")

    manifest = erasure.erase_visitor(acme.pk, "v_ada", by(alice)).data()

    assert manifest["scope"] == "visitor"
    assert manifest["asked_by"] == "alice@example.com"
    assert manifest["asked_at"] <= manifest["finished_at"]
    messages = manifest["removed"]["chat_message"]
    assert messages["first"] == f"{first.created_at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    assert messages["first"] <= messages["last"]
    assert manifest["subject_digest"] == digest_of(acme.pk, "v_ada")
    assert "v_ada" not in json.dumps(manifest)


def test_a_manifest_cannot_be_changed(converse, acme):
    converse(turns=1)
    manifest = erasure.erase_visitor(acme.pk, "v_ada", SYSTEM)

    for change in (manifest.save, manifest.delete, ErasureManifest.objects.all().delete):
        with pytest.raises(AppendOnlyError):
            change()


def test_erasing_a_user_clears_the_audit_trail_of_that_tenant(
    acme, umbrella, dave, dave_client, mallory, session
):
    umbrella.memberships.create(user=dave, role="developer")
    path = "/api/tenants/{}/api-keys"
    for tenant in (acme, umbrella):
        assert dave_client.post(path.format(tenant.pk), {"name": "Site", "kind": "sk"}).status_code == 201

    manifest = erase("--tenant", str(acme.pk), "--user", "dave@example.com")

    assert manifest["removed"]["chat_chatsession"]["count"] == 1
    issued = AuditEvent.objects.get(action="api_key.issued", tenant_id=acme.pk)
    assert (issued.actor_id, issued.actor_name, issued.address) == (None, "", "")
    assert (
        AuditEvent.objects.get(action="api_key.issued", tenant_id=umbrella.pk).actor_name
        == "dave@example.com"
    )
    assert not ChatSession.objects.filter(user=dave, tenant=acme).exists()


def test_erasing_all_conversations_of_a_tenant_leaves_everything_else(
    converse, acme, umbrella, mallory, dave_client
):
    converse()
    theirs = ChatSession.objects.create(tenant=umbrella, user=mallory)
    Message.objects.create(tenant=acme, session=ChatSession(pk=ObjectId()), seq=1, role="user", content="x")
    assert dave_client.get(f"/api/chat/tenants/{acme.pk}/analytics").status_code == 200

    manifest = erase("--tenant", str(acme.pk), "--all")

    assert manifest["removed"]["chat_message"]["count"] == 5
    of_tenant = {"$or": [{"tenant_id": acme.pk}, {"_id": acme.pk}]}
    left = {
        name
        for name in connection.database.list_collection_names()
        if name.startswith("chat_") and connection.database[name].find_one(of_tenant)
    }
    assert left == set()
    assert LedgerEntry.objects.filter(tenant=acme).count() == 2
    assert acme.memberships.count() == 3
    assert ChatSession.objects.get() == theirs


@pytest.mark.parametrize("what", [["--visitor", ""], ["--user", "unknown@example.com"], ["--session", "x"]])
def test_an_erasure_without_a_subject_is_rejected(converse, acme, what):
    converse(turns=1)

    with pytest.raises(CommandError):
        erase("--tenant", str(acme.pk), *what)
    assert Message.objects.count() == 2


def test_a_session_of_another_tenant_is_not_erased(converse, umbrella):
    session = converse(turns=1)

    with pytest.raises(CommandError):
        erase("--tenant", str(umbrella.pk), "--session", str(session.pk))
    erase("--tenant", str(umbrella.pk), "--visitor", "v_ada")

    assert Message.objects.filter(session=session).count() == 2


def test_an_interrupted_erasure_is_finished_with_a_complete_manifest(converse, acme):
    sessions = [converse(turns=1), converse(turns=1)]
    begun = Erasure.objects.begin(acme.pk, ErasureScope.VISITOR, "v_ada", SYSTEM)
    erasure.erase_sessions(begun, [sessions[0].pk])  # Here its process dies.

    out = StringIO()
    call_command("prune", stdout=out)

    assert f"erasure {begun.pk} finished" in out.getvalue()
    manifest = ErasureManifest.objects.get(pk=begun.pk).data()
    assert manifest["removed"]["chat_chatsession"]["count"] == 2
    assert manifest["removed"]["chat_message"]["count"] == 4
    assert not Erasure.objects.exists()


def test_a_running_turn_is_stopped_and_settled_before_its_session_is_deleted(fake, site, acme, session):
    fake.script(answer={"text": "One two three four five six.", "seconds_between": 2.0})
    response = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello", "stream": True})
    reading = iter(response.streaming_content)
    next(reading)
    response.close()  # The turn continues without a reader.
    [reply] = Message.objects.filter(status="streaming")

    erasure.erase_session(session, SYSTEM)

    assert not Message.objects.exists()
    [entry] = LedgerEntry.objects.filter(reply=reply.pk)
    assert (entry.outcome, entry.session) == ("cancelled", None)
    assert Usage.objects.of(acme).live == 0


def test_erasure_uses_indexes(converse, acme, dave, commands):
    converse()
    ChatSession.objects.create(tenant=acme, user=dave)
    with commands.recording() as recording:
        erasure.erase_visitor(acme.pk, "v_ada", SYSTEM)
        erasure.erase_user(acme.pk, dave.pk, SYSTEM)
        converse(turns=1)
        erasure.erase_chat(acme.pk, SYSTEM)

    assert recording.slow_queries(connection.database) == []


def test_concurrent_erasures_count_each_document_once(converse, acme):
    for _ in range(3):
        converse()

    outcomes = run_concurrently(*[lambda: erasure.erase_visitor(acme.pk, "v_ada", SYSTEM)] * 3)

    assert [type(outcome) for outcome in outcomes] == [ErasureManifest] * 3
    removed = [manifest.removed for manifest in ErasureManifest.objects.all()]
    assert sum(each.get("chat_message", {"count": 0})["count"] for each in removed) == 12
    assert sum(each.get("chat_chatsession", {"count": 0})["count"] for each in removed) == 3
    assert not Erasure.objects.exists()


def test_purging_a_tenant_removes_its_conversations_and_metrics(converse, acme, dave_client):
    converse(turns=1)
    age_by_an_hour()
    assert dave_client.get(f"/api/chat/tenants/{acme.pk}/analytics").status_code == 200
    Tenant.objects.filter(pk=acme.pk).update(deleted_at=timezone.now() - timedelta(days=31))

    call_command("purge_tenants", stdout=StringIO())

    assert collections_with(acme.pk) == {"tenants_auditevent", "tenants_erasuremanifest"}
    manifest = ErasureManifest.objects.get()
    assert (manifest.scope, manifest.removed["tenants_tenant"]["count"]) == ("tenant", 1)
    assert manifest.removed["chat_message"]["count"] == 2


def test_a_repeated_request_continues_the_same_erasure(converse, acme):
    converse(turns=1)
    begun = Erasure.objects.begin(acme.pk, ErasureScope.VISITOR, "v_ada", SYSTEM)

    assert erase("--tenant", str(acme.pk), "--visitor", "v_ada")["id"] == str(begun.pk)


def test_a_message_stored_after_its_session_was_erased_is_removed_too(converse, acme):
    session = converse(turns=1)
    old = list(Message.collection().find({"session_id": session.pk}, sort=[("seq", 1)]))
    ChatSession.objects.filter(pk=session.pk).delete()
    asked, answer = ObjectId(), ObjectId()
    question = {**old[0], "_id": asked, "seq": 3}
    reply = {**old[1], "_id": answer, "seq": 4, "in_reply_to_id": asked, "settled": False}
    Message.collection().insert_many([question, reply])

    settlement.settle(replies.unsettled({"_id": answer}))

    assert not Message.objects.filter(pk__in=[asked, answer]).exists()
    assert LedgerEntry.objects.get(reply=answer).session is None


# -- over HTTP ---------------------------------------------------------------------


def test_an_admin_erases_a_visitor(converse, acme, alice):
    converse("v/1", turns=1)
    client = signed_in(alice)

    answer = client.delete(f"/api/chat/tenants/{acme.pk}/visitors/v/1")

    assert answer.status_code == 202
    assert not Message.objects.exists()
    assert client.get(answer["Location"]).json() == answer.json()
    assert AuditEvent.objects.get(action="visitor.erased").target_id == answer.json()["id"]
    again = client.delete(f"/api/chat/tenants/{acme.pk}/visitors/v/1")
    assert problem(again, 404) == "not_found"


def test_only_admins_of_the_tenant_erase_visitors(
    converse, acme, umbrella, dave_client, site, mallory, alice
):
    converse(turns=1)
    url = f"/api/chat/tenants/{acme.pk}/visitors/v_ada"

    assert problem(dave_client.delete(url), 403) == "permission_denied"
    assert problem(site.delete(url), 403) == "permission_denied"
    assert problem(signed_in(mallory).delete(url), 404) == "not_found"
    theirs = f"/api/chat/tenants/{umbrella.pk}/visitors/v_ada"
    assert problem(signed_in(mallory).delete(theirs), 404) == "not_found"
    assert Message.objects.count() == 2

    done = signed_in(alice).delete(url).json()["id"]
    foreign = f"/api/chat/tenants/{umbrella.pk}/erasures/{done}"
    assert problem(signed_in(mallory).get(foreign), 404) == "not_found"
    assert problem(dave_client.get(f"/api/chat/tenants/{acme.pk}/erasures/{done}"), 403)
    assert problem(signed_in(alice).get(f"/api/chat/tenants/{acme.pk}/erasures/x"), 404) == "not_found"


def test_deleting_a_session_leaves_a_manifest_and_its_metrics(converse, acme, dave, dave_client):
    session = converse(turns=1)
    age_by_an_hour()
    url = f"/api/chat/tenants/{acme.pk}/analytics"
    before = dave_client.get(url).json()["totals"]

    assert dave_client.delete(f"/api/chat/sessions/{session.pk}").status_code == 204

    assert dave_client.get(url).json()["totals"] == before
    manifest = ErasureManifest.objects.get()
    assert (manifest.scope, manifest.asked_by) == ("session", "dave@example.com")
