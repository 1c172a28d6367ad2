"""/api/chat/sessions and /api/chat/tenants/{id}/sessions."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from bson import ObjectId

from chat.models import ChatSession, Message
from qa.testing.tenants import issue, problem, signed_in, with_key


def path(session) -> str:
    return f"/api/chat/sessions/{session.pk}"


def test_a_key_opens_a_session_in_its_tenant(site, acme):
    response = site.post("/api/chat/sessions", {"title": "Order 17", "metadata": {"order": 17}})

    assert response.status_code == 201, response.content
    opened = response.json()
    assert response["Location"] == f"/api/chat/sessions/{opened['id']}"
    assert (opened["tenant_id"], opened["title"]) == (str(acme.pk), "Order 17")
    assert opened["metadata"] == {"order": 17}
    assert opened["visitor_token"] is None


def test_a_user_names_the_tenant(dave_client, acme, umbrella):
    assert dave_client.post("/api/chat/sessions", {"tenant_id": str(acme.pk)}).status_code == 201
    assert problem(dave_client.post("/api/chat/sessions", {}), 400) == "invalid"
    assert (
        problem(dave_client.post("/api/chat/sessions", {"tenant_id": str(umbrella.pk)}), 404) == "not_found"
    )


def test_a_key_cannot_name_another_tenant(site, acme, umbrella):
    assert site.post("/api/chat/sessions", {"tenant_id": str(acme.pk)}).status_code == 201
    assert problem(site.post("/api/chat/sessions", {"tenant_id": str(umbrella.pk)}), 404) == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ["x"]}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"colour": "red"}, "colour"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": {"text": "x" * 17_000}}, "metadata"),
        ({"route": ["unknown/model"]}, "route"),
        ({"route": "groq"}, "route"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tenant_id": "17"}, "tenant_id"),
    ],
)
def test_bad_input_names_its_field(site, body, field):
    response = site.post("/api/chat/sessions", body)

    assert problem(response, 400) == "invalid"
    assert response.json()["errors"][0]["field"].split(".")[0] == field
    assert not ChatSession.objects.exists()


def test_a_session_is_read_changed_and_deleted(dave_client, session):
    changed = dave_client.put(path(session), {"title": "Talk", "temperature": 0.5, "route": ["groq/a-model"]})
    assert changed.status_code == 200, changed.content
    assert dave_client.get(path(session)).json() == changed.json()
    assert changed.json()["temperature"] == 0.5

    back = dave_client.patch(path(session), {"temperature": None})
    assert (back.json()["temperature"], back.json()["route"]) == (None, ["groq/a-model"])

    Message.objects.create(session=session, tenant=session.tenant, seq=1, role="user", content="Hello")
    assert dave_client.delete(path(session)).status_code == 204
    assert problem(dave_client.get(path(session)), 404) == "not_found"
    assert not Message.objects.exists()


def test_read_only_fields_are_refused(dave_client, session):
    for field in ("id", "tenant_id", "visitor", "message_count", "created_at"):
        response = dave_client.put(path(session), {field: "1"})
        assert problem(response, 400) == "invalid"
        assert response.json()["errors"][0]["code"] == "read_only_field"


def test_if_match_prevents_a_lost_update(dave_client, session):
    tag = dave_client.get(path(session))["ETag"]
    assert dave_client.put(path(session), {"title": "One"}, HTTP_IF_MATCH=tag).status_code == 200
    refused = dave_client.put(path(session), {"title": "Two"}, HTTP_IF_MATCH=tag)
    assert problem(refused, 412) == "precondition_failed"
    assert problem(dave_client.delete(path(session), HTTP_IF_MATCH=tag), 412) == "precondition_failed"


@pytest.mark.parametrize("session_id", ["17", "x" * 24, "%20", "0" * 24])
def test_missing_and_malformed_ids_are_404(dave_client, session_id):
    assert problem(dave_client.get(f"/api/chat/sessions/{session_id}"), 404) == "not_found"


def test_a_foreign_session_looks_like_a_missing_one(mallory, session):
    stranger = signed_in(mallory)
    foreign, missing = stranger.get(path(session)), stranger.get(f"/api/chat/sessions/{ObjectId()}")

    def body(response):
        return {k: v for k, v in response.json().items() if k != "request_id"}

    assert foreign.status_code == missing.status_code == 404
    assert body(foreign) == body(missing)


def test_a_viewer_can_read_but_not_write(bob, session):
    viewer = signed_in(bob)
    assert viewer.get(path(session)).status_code == 200
    assert problem(viewer.put(path(session), {"title": "x"}), 403) == "permission_denied"
    assert problem(viewer.delete(path(session)), 403) == "permission_denied"
    opening = viewer.post("/api/chat/sessions", {"tenant_id": str(session.tenant_id)})
    assert problem(opening, 403) == "permission_denied"


def test_a_key_needs_the_scope(acme, alice, session):
    reader = with_key(issue(acme, alice, scopes=["sessions:read"]).secret)
    assert reader.get(path(session)).status_code == 200
    assert problem(reader.put(path(session), {"title": "x"}), 403) == "permission_denied"


def test_a_request_without_credentials_is_401(client, session):
    response = client.get(path(session))
    assert problem(response, 401) == "not_authenticated"
    assert response["WWW-Authenticate"]


def test_pages_of_a_list_have_no_gaps(dave_client, acme, umbrella):
    for number in range(7):
        session = ChatSession.objects.create(tenant=acme, title=str(number))
        same_time = ChatSession.objects.filter(title="0").values_list("last_message_at", flat=True)[0]
        ChatSession.objects.filter(pk=session.pk).update(last_message_at=same_time)
    ChatSession.objects.create(tenant=umbrella, title="foreign")

    titles, url = [], f"/api/chat/tenants/{acme.pk}/sessions?page_size=3"
    while url:
        page = dave_client.get(url).json()
        titles += [row["title"] for row in page["results"]]
        url = page["next"]

    assert titles == ["6", "5", "4", "3", "2", "1", "0"]


def test_lists_are_filtered(dave_client, acme, session):
    ChatSession.objects.create(tenant=acme, status="closed", visitor="v_1")
    later = (session.created_at + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    base = f"/api/chat/tenants/{acme.pk}/sessions"

    def count(query):
        return len(dave_client.get(f"{base}?{query}").json()["results"])

    assert count("status=closed") == 1
    assert count("visitor=v_1") == 1
    assert count(f"user_id={session.user_id}") == 1
    assert count("user_id=nonsense") == 0
    assert count(f"created_after={later}") == 0
    assert count(f"created_before={later}") == 2


@pytest.mark.parametrize(
    "query",
    ["status=lost", "created_after=soon", "ordering=title", "page_size=0", "page_size=x", "cursor=zz"],
)
def test_bad_queries_are_400(dave_client, acme, query):
    response = dave_client.get(f"/api/chat/tenants/{acme.pk}/sessions?{query}")
    assert problem(response, 400) == "invalid"
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]


def test_a_post_with_an_idempotency_key_creates_one_session(site, acme):
    first = site.post("/api/chat/sessions", {"title": "Once"}, HTTP_IDEMPOTENCY_KEY="k-1")
    again = site.post("/api/chat/sessions", {"title": "Once"}, HTTP_IDEMPOTENCY_KEY="k-1")
    other = site.post("/api/chat/sessions", {"title": "Other"}, HTTP_IDEMPOTENCY_KEY="k-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert problem(other, 422) == "idempotency_key_reused"
    assert ChatSession.objects.filter(tenant=acme).count() == 1


def test_an_export_contains_the_whole_conversation(fake, dave_client, session):
    for text in ("First?", "Second?"):
        response = dave_client.post(f"{path(session)}/messages", {"message": text})
        assert response.status_code == 201

    as_json = dave_client.get(f"{path(session)}/export")
    as_text = dave_client.get(f"{path(session)}/export?format=markdown")

    exported = json.loads(b"".join(as_json.streaming_content))
    assert [m["role"] for m in exported["messages"]] == ["user", "assistant"] * 2
    assert exported["session"]["id"] == str(session.pk)
    text = b"".join(as_text.streaming_content).decode()
    assert all(message["content"] in text for message in exported["messages"])
    assert problem(dave_client.get(f"{path(session)}/export?format=pdf"), 400) == "invalid"
