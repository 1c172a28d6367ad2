"""A stream ends soon after its reader's access to it is revoked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.test import APIClient

from chat.turns import access_watch
from qa.testing.chat import events
from qa.testing.tenants import by, issue, signed_in, with_key
from qa.testing.waiting import wait_until
from tenants.access import Access
from tenants.access.rights import SEND_MESSAGES
from tenants.models import ApiKey, Membership
from tenants.models.membership import Role


@pytest.fixture
def silent(fake) -> Iterator[None]:
    """Every provider begins a reply and then stalls."""
    fake.script(fault="stall")
    yield
    wait_until(lambda: not access_watch.open_streams(), "every stream is released")


@pytest.fixture
def stream(silent, session) -> Callable[[APIClient], StreamingHttpResponse]:
    def begin(client: APIClient) -> StreamingHttpResponse:
        body = {"message": "Hello", "stream": True}
        response = client.post(f"/api/chat/sessions/{session.pk}/messages", body)
        assert response.status_code == 200, response.content
        return response

    return begin


def test_removing_a_member_ends_the_stream(stream, dave_client, dave, alice):
    response = stream(dave_client)
    Membership.objects.get(user=dave).remove(by(alice))

    name, _, problem = events(response)[-1]
    assert (name, problem["code"]) == ("error", "access_ended")


def test_a_role_without_the_right_to_send_ends_the_stream_of_a_send(stream, dave_client, dave, alice):
    response = stream(dave_client)
    Membership.objects.get(user=dave).change_role("viewer", by(alice))

    assert events(response)[-1][2]["code"] == "access_ended"


def test_deactivating_a_user_ends_the_stream(stream, dave_client, dave):
    response = stream(dave_client)
    dave.is_active = False
    dave.save(update_fields=["is_active"])

    assert events(response)[-1][2]["code"] == "access_ended"


def test_suspending_the_tenant_ends_its_streams(stream, site, acme, alice):
    response = stream(site)
    acme.suspend(by(alice))

    assert events(response)[-1][2]["code"] == "access_ended"


def test_deleting_the_tenant_ends_its_streams(stream, site, acme, alice):
    response = stream(site)
    acme.soft_delete(by(alice))

    assert events(response)[-1][2]["code"] == "access_ended"


def test_revoking_a_key_ends_its_stream(stream, site, alice):
    response = stream(site)
    ApiKey.objects.get().revoke(by(alice))

    assert events(response)[-1][2]["code"] == "access_ended"


def test_expiry_of_a_key_ends_its_stream(stream, site):
    response = stream(site)
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert events(response)[-1][2]["code"] == "access_ended"


def test_removing_a_reader_ends_the_readers_stream_but_not_the_turn(stream, dave_client, bob, alice):
    sent = stream(dave_client)
    body = iter(sent.streaming_content)
    reply_id = next(body).decode().partition('"reply_id":"')[2][:24]
    path = sent.request["PATH_INFO"]
    read = signed_in(bob).get(f"{path}/{reply_id}/stream")
    Membership.objects.get(user=bob).remove(by(alice))

    assert events(read)[-1][2]["code"] == "access_ended"
    assert dave_client.get(f"{path}/{reply_id}").json()["status"] == "streaming"
    sent.close()


def test_revoking_a_key_ends_an_openai_stream(silent, acme, alice):
    issued = issue(acme, alice, scopes=["messages:send"])
    body = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    response = with_key(issued.secret).post("/v1/chat/completions", body)
    assert response.status_code == 200, response.content
    issued.key.revoke(by(alice))

    assert "error" in b"".join(response.streaming_content).decode()


def test_a_key_that_allows_browsers_no_longer_ends_the_stream_of_a_browser(stream, acme, alice, session):
    key = issue(acme, alice, scopes=["messages:send"], allow_browser=True)
    response = stream(with_key(key.secret, HTTP_ORIGIN="app://desk"))
    ApiKey.objects.update(allow_browser=False)

    assert events(response)[-1][2]["code"] == "access_ended"


def test_a_role_that_still_has_the_right_keeps_the_stream(acme, dave, alice):
    granted = access_watch.grant(Access(acme, role=Role.DEVELOPER, user=dave), SEND_MESSAGES, lambda: None)
    Membership.objects.get(user=dave).change_role("admin", by(alice))

    assert access_watch.revoked_among([granted]) == []
    granted.release()
