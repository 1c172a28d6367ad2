"""Significant denials are recorded in the tenant's audit trail: a bounded number, at no cost to others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from bson import ObjectId
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from core.audit.denials import MAX_PER_HOUR, record_denial
from core.audit.models import Actor, AuditEvent, Source
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, issue, limited, middle_of_next_hour, problem, signed_in, with_key
from tenants.models import ApiKey

PROCESSES = 4


def denials(tenant) -> list[AuditEvent]:
    return list(AuditEvent.objects.of_tenant(tenant.pk).exclude(reason="").order_by("created_at", "id"))


def recorded(tenant) -> list[tuple[str, str, str]]:
    return [(event.action, event.reason, event.actor_name) for event in denials(tenant)]


def usage(tenant) -> str:
    return f"/api/tenants/{tenant.pk}/usage"


# -- keys ----------------------------------------------------------------------


def revoke(key: ApiKey) -> None:
    key.revoke(by(key.created_by))


def expire(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())


def limit_to_another_network(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(allowed_networks=["198.51.100.0/24"])


def suspend_tenant(key: ApiKey) -> None:
    key.tenant.suspend(by(key.created_by))


@pytest.mark.parametrize(
    ("invalidate", "status", "reason"),
    [
        (revoke, 401, "revoked"),
        (expire, 401, "expired"),
        (limit_to_another_network, 403, "network_not_allowed"),
        (suspend_tenant, 403, "tenant_suspended"),
    ],
)
def test_a_denied_key_that_exists_is_recorded(acme, secret_key, invalidate, status, reason):
    invalidate(secret_key.key)

    problem(with_key(secret_key.secret).get(usage(acme), REMOTE_ADDR="192.0.2.9"), status)

    (event,) = denials(acme)
    assert (event.action, event.reason) == ("api_key.refused", reason)
    assert (event.actor_name, event.actor_key) == (secret_key.key.prefix, secret_key.key.pk)
    assert event.target_id == str(secret_key.key.pk)
    assert (event.address, event.asked) == ("192.0.2.9", "GET /api/tenants/<str:tenant_id>/usage")
    assert event.request_id


@pytest.mark.parametrize(
    ("origin", "reason"), [("https://evil.example", "origin_not_allowed"), ("", "origin_not_allowed")]
)
def test_a_public_key_outside_its_origins_is_recorded(acme, public_key, origin, reason):
    problem(with_key(public_key.secret, HTTP_ORIGIN=origin).post("/api/chat/sessions"), 403)

    assert recorded(acme) == [("api_key.refused", reason, public_key.key.prefix)]


def test_a_secret_key_in_a_browser_is_recorded(acme, secret_key):
    problem(with_key(secret_key.secret, HTTP_ORIGIN="https://shop.example").get(usage(acme)), 403)

    assert recorded(acme) == [("api_key.refused", "secret_key_in_browser", secret_key.key.prefix)]


def test_a_key_without_the_scope_is_recorded(acme, secret_key):
    problem(with_key(secret_key.secret).post("/api/chat/sessions", {}), 403)

    assert recorded(acme) == [("api_key.refused", "scope_missing", secret_key.key.prefix)]


def test_a_key_that_may_not_use_the_model_is_recorded(acme, alice):
    issued = issue(acme, alice, scopes=["sessions:write", "messages:send"], allowed_models=["groq/a"])
    client = with_key(issued.secret)
    session = client.post("/api/chat/sessions", {}).data["id"]

    body = {"message": "Hi", "provider": "gemini", "model": "b"}
    assert problem(client.post(f"/api/chat/sessions/{session}/messages", body), 403) == "model_not_allowed"

    assert recorded(acme) == [("api_key.refused", "model_not_allowed", issued.key.prefix)]


def test_denied_keys_at_the_openai_endpoint_are_recorded(acme, secret_key, public_key):
    body = {"model": "default", "messages": [{"role": "user", "content": "Hi"}]}
    assert with_key(secret_key.secret).post("/v1/chat/completions", body).status_code == 403
    shop = with_key(public_key.secret, HTTP_ORIGIN="https://shop.example")
    assert shop.post("/v1/chat/completions", body).status_code == 403

    assert recorded(acme) == [
        ("api_key.refused", "scope_missing", secret_key.key.prefix),
        ("api_key.refused", "public_key", public_key.key.prefix),
    ]


def test_a_key_with_a_wrong_secret_is_not_recorded(acme, alice, secret_key):
    other = issue(acme, alice)
    secret_key.key.revoke(by(alice))
    ApiKey.objects.filter(pk=secret_key.key.pk).update(digest=other.key.digest)

    problem(with_key(secret_key.secret).get(usage(acme)), 401)
    problem(with_key(secret_key.secret[:-1] + "x").get(usage(acme)), 401)

    assert recorded(acme) == []


# -- members -------------------------------------------------------------------


def test_a_member_denied_for_the_role_is_recorded(acme, bob):
    problem(signed_in(bob).post(f"/api/tenants/{acme.pk}/api-keys", {"name": "x"}), 403)

    (event,) = denials(acme)
    assert (event.action, event.reason, event.actor_id) == ("member.refused", "role_too_low", bob.pk)
    assert (event.target_type, event.target_id) == ("tenant", str(acme.pk))
    assert event.asked == "POST /api/tenants/<str:tenant_id>/api-keys"


def test_a_developer_who_requests_a_plan_is_recorded(acme, dave):
    problem(signed_in(dave).patch(f"/api/tenants/{acme.pk}", {"requested_plan": "enterprise"}), 403)

    assert recorded(acme) == [("member.refused", "role_too_low", "dave@example.com")]


def test_a_member_of_a_suspended_tenant_is_recorded(acme, alice):
    acme.suspend(by(alice))

    problem(signed_in(alice).get(usage(acme)), 403)

    assert recorded(acme) == [("member.refused", "tenant_suspended", "alice@example.com")]


def test_a_viewer_denied_in_a_conversation_is_recorded(acme, dave, bob):
    opened = signed_in(dave).post("/api/chat/sessions", {"tenant_id": str(acme.pk)}).data

    problem(signed_in(bob).post(f"/api/chat/sessions/{opened['id']}/messages", {"message": "Hi"}), 403)

    assert recorded(acme) == [("member.refused", "role_too_low", "bob@example.com")]


@pytest.mark.parametrize(
    ("method", "body", "action", "role"),
    [
        ("delete", None, "member.removal_refused", None),
        ("patch", {"role": "viewer"}, "member.role_change_refused", "viewer"),
    ],
)
def test_the_denied_removal_of_the_last_admin_is_recorded(acme, alice, method, body, action, role):
    call = getattr(signed_in(alice), method)
    assert problem(call(f"/api/tenants/{acme.pk}/members/{alice.pk}", body), 409) == "last_admin"

    (event,) = denials(acme)
    assert (event.action, event.reason) == (action, "last_admin")
    assert (event.target_name, event.changes) == ("alice@example.com", {"role": ["admin", role]})


def test_staff_who_try_to_remove_the_last_admin_are_recorded(acme, alice):
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.com"))
    membership = acme.memberships.get(user=alice)

    staff.post("/admin/tenants/membership/", {"action": "remove", "_selected_action": str(membership.pk)})

    assert recorded(acme) == [("member.removal_refused", "last_admin", "staff@example.com")]


# -- not significant ------------------------------------------------------------


def test_a_request_for_a_foreign_object_is_not_recorded(acme, umbrella, mallory, secret_key):
    before = AuditEvent.objects.count()

    problem(signed_in(mallory).get(usage(acme)), 404)
    problem(signed_in(mallory).delete(f"/api/tenants/{acme.pk}"), 404)
    problem(with_key(secret_key.secret).get(usage(umbrella)), 404)
    problem(signed_in(mallory).get(f"/api/chat/sessions/{ObjectId()}"), 404)

    assert AuditEvent.objects.count() == before


def test_what_a_plan_does_not_include_is_not_recorded(acme, alice):
    limited(acme, streaming=False)
    client = with_key(issue(acme, alice, scopes=["sessions:write", "messages:send"]).secret)
    session = client.post("/api/chat/sessions", {}).data["id"]

    body = {"message": "Hi", "stream": True}
    answer = client.post(f"/api/chat/sessions/{session}/messages", body)

    assert problem(answer, 403) == "streaming_not_in_plan"
    assert recorded(acme) == []


# -- bounds --------------------------------------------------------------------


def test_repetitions_are_recorded_once_an_hour(acme, bob, secret_key):
    secret_key.key.revoke(by(bob))
    now = middle_of_next_hour()

    for moment in (now, now + timedelta(minutes=20), now + timedelta(hours=1)):
        with time_machine.travel(moment):
            for _ in range(3):
                problem(with_key(secret_key.secret).get(usage(acme)), 401)

    assert len(denials(acme)) == 2


def test_each_network_is_recorded_once_and_not_each_address(acme, secret_key, bob):
    secret_key.key.revoke(by(bob))

    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        problem(with_key(secret_key.secret).get(usage(acme), REMOTE_ADDR=address), 401)

    addresses = [event.address for event in denials(acme)]
    assert addresses == ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]


def test_a_public_key_is_recorded_once_for_all_networks(acme, public_key):
    for number in range(5):
        client = with_key(public_key.secret, HTTP_ORIGIN="https://evil.example")
        problem(client.post("/api/chat/sessions", {}, REMOTE_ADDR=f"192.0.2.{number}"), 403)

    assert len(denials(acme)) == 1


def test_denials_of_one_tenant_are_bounded_and_the_cut_off_is_recorded(acme, umbrella, alice):
    for number in range(MAX_PER_HOUR + 20):
        address = f"192.0.2.{number}"
        caller = Actor(f"key{number}", source=Source(address, network=address))
        record_denial(caller, "api_key.refused", "revoked", alice, tenant_id=acme.pk)
    record_denial(Actor("key"), "api_key.refused", "revoked", alice, tenant_id=umbrella.pk)

    assert len(denials(acme)) == MAX_PER_HOUR
    (cut_off,) = AuditEvent.objects.filter(action="refusals.cut_off")
    assert (cut_off.tenant_id, cut_off.actor_name, cut_off.address) == (acme.pk, "system", "192.0.2.100")
    assert len(denials(umbrella)) == 1


def test_concurrent_threads_record_a_denial_once(acme, secret_key, alice):
    for _ in range(5):
        issued = issue(acme, alice)
        issued.key.revoke(by(alice))
        before = len(denials(acme))

        answers = run_concurrently(*[lambda: with_key(issued.secret).get(usage(acme)).status_code] * 8)  # noqa: B023 - run at once

        assert answers == [401] * 8
        assert len(denials(acme)) == before + 1


@pytest.fixture
def processes(database_uri) -> Iterator[list[subprocess.Popen]]:
    environment = {**os.environ, "MONGODB_URI": database_uri, "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-m", "tenants.tests.refusing_server"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(PROCESSES)]
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_concurrent_processes_record_a_denial_once(processes, acme):
    for number in range(20):
        for process in processes:
            process.stdin.write(json.dumps({"tenant": str(acme.pk), "key": f"key{number}"}) + "\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * PROCESSES
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in processes] == ["done\n"] * PROCESSES

    assert [name for _, _, name in recorded(acme)] == [f"key{number}" for number in range(20)]


# -- costs and failures -------------------------------------------------------


def test_an_allowed_request_does_not_query_the_trail(commands, acme, alice, secret_key):
    with commands.recording() as recording:
        assert with_key(secret_key.secret).get(usage(acme)).status_code == 200
        assert signed_in(alice).get(usage(acme)).status_code == 200

    assert "tenants_auditevent" not in " ".join(map(str, recording.commands))


def test_a_repeated_denial_costs_only_the_query_for_the_key(commands, acme, alice, secret_key):
    secret_key.key.revoke(by(alice))
    problem(with_key(secret_key.secret).get(usage(acme)), 401)

    with commands.recording() as recording:
        problem(with_key(secret_key.secret).get(usage(acme)), 401)

    assert [str(command) for command in recording.commands] == ["aggregate tenants_apikey"]


def test_a_first_denial_uses_indexes(commands, acme, alice, secret_key):
    secret_key.key.revoke(by(alice))

    with commands.recording() as recording:
        problem(with_key(secret_key.secret).get(usage(acme)), 401)

    assert len(recording.commands) == 3
    assert recording.slow_queries(connection.database) == []


@pytest.fixture
def unwritable_trail(db) -> Iterator[None]:
    """The database rejects every write to the audit trail."""
    table = AuditEvent._meta.db_table
    connection.database.command("collMod", table, validator={"action": "nothing"})
    yield
    connection.database.command("collMod", table, validator={})


def test_a_denial_that_can_not_be_recorded_is_still_a_denial(acme, bob, secret_key, unwritable_trail, caplog):
    problem(signed_in(bob).post(f"/api/tenants/{acme.pk}/api-keys", {"name": "x"}), 403)
    problem(with_key(secret_key.secret).post("/api/chat/sessions", {}), 403)

    assert recorded(acme) == []
    assert caplog.text.count("a denial could not be recorded") == 2
