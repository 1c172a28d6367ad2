"""/api/tenants/{id}/api-keys: issue, list, rotate, revoke."""

import hashlib
import re
from datetime import timedelta

import pytest
import time_machine
from bson import ObjectId
from django.utils import timezone

from core.audit.models import AuditEvent
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, issue, limited, problem, signed_in, with_key
from tenants.models import ApiKey, api_key
from tenants.models.api_key import IssuedKey
from tenants.models.errors import PlanLimit

EVERY_SCOPE = ["sessions:read", "sessions:write", "messages:send", "analytics:read", "usage:read"]


def url(tenant, key_id="", action="") -> str:
    return "/".join(filter(None, [f"/api/tenants/{tenant.pk}/api-keys", str(key_id), action]))


def is_accepted(secret, tenant) -> bool:
    return with_key(secret).get(f"/api/tenants/{tenant.pk}/usage").status_code == 200


def test_a_new_key_shows_its_secret_once(alice, acme):
    response = signed_in(alice).post(url(acme), {"name": "Server"})

    assert response.status_code == 201
    assert re.fullmatch(r"cap_sk_live_[0-9A-Za-z]{38}", response.data["key"])
    assert response["Cache-Control"] == "no-store"
    assert response["Location"] == url(acme, response.data["id"])
    for later in (signed_in(alice).get(response["Location"]), signed_in(alice).get(url(acme))):
        assert later.status_code == 200
        assert response.data["key"] not in later.content.decode()
        assert "digest" not in later.content.decode()


def test_the_database_holds_neither_secret_nor_its_plain_hash(secret_key):
    raw = str(ApiKey.collection().find_one({"_id": secret_key.key.pk}))

    assert secret_key.secret not in raw
    assert hashlib.sha256(secret_key.secret.encode()).hexdigest() not in raw
    assert secret_key.secret[:20] in raw


def test_a_secret_key_has_every_scope_by_default(alice, acme):
    assert signed_in(alice).post(url(acme), {"name": "All"}).data["scopes"] == EVERY_SCOPE
    some = signed_in(alice).post(url(acme), {"name": "Some", "scopes": ["usage:read"]})
    assert some.data["scopes"] == ["usage:read"]


def test_a_public_key_has_no_scopes_of_its_own(alice, acme):
    body = {"name": "Site", "kind": "pk", "environment": "test"}
    response = signed_in(alice).post(url(acme), body)

    assert response.data["key"].startswith("cap_pk_test_")
    assert response.data["scopes"] == []
    problem(signed_in(alice).post(url(acme), {**body, "scopes": ["usage:read"]}), 400)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"kind": "xk"}, "kind"),
        ({"environment": "prod"}, "environment"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": "usage:read"}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"allowed_origins": ["shop.example"]}, "allowed_origins"),
        ({"allowed_networks": ["10.0.0.0/33"]}, "allowed_networks"),
        ({"allowed_networks": ["10.0.0.1/8"]}, "allowed_networks"),
        ({"allowed_models": ["nowhere/x"]}, "allowed_models"),
        ({"allow_browser": "yes"}, "allow_browser"),
        ({"kind": "pk", "allow_browser": True}, "allow_browser"),
        ({"key": "cap_sk_live_mine"}, "key"),
        ({"digest": "0"}, "digest"),
        ({"prefix": "cap_"}, "prefix"),
        ({"tenant": "0" * 24}, "tenant"),
    ],
)
def test_an_error_names_the_invalid_field(alice, acme, change, field):
    response = signed_in(alice).post(url(acme), {"name": "Server", **change})

    assert problem(response, 400) == "invalid"
    assert field in [error["field"] for error in response.json()["errors"]]


def test_a_key_allows_browsers_if_that_is_requested_and_so_does_its_successor(alice, acme):
    client = signed_in(alice)
    assert client.post(url(acme), {"name": "Server"}).data["allow_browser"] is False
    made = client.post(url(acme), {"name": "Desktop app", "allow_browser": True}).data

    assert made["allow_browser"] is True
    assert client.post(url(acme, made["id"], "rotate"), {}).data["allow_browser"] is True


def test_developers_manage_keys(dave, acme):
    client = signed_in(dave)
    made = client.post(url(acme), {"name": "Server"}).data

    assert [row["id"] for row in client.get(url(acme)).data["results"]] == [made["id"]]
    assert client.delete(url(acme, made["id"])).status_code == 204


def test_viewers_and_keys_do_not_manage_keys(bob, acme, secret_key):
    for client in (signed_in(bob), with_key(secret_key.secret)):
        for response in (
            client.get(url(acme)),
            client.post(url(acme), {"name": "Server"}),
            client.get(url(acme, secret_key.key.pk)),
            client.delete(url(acme, secret_key.key.pk)),
            client.post(url(acme, secret_key.key.pk, "rotate"), {}),
        ):
            assert problem(response, 403) == "permission_denied"
    assert is_accepted(secret_key.secret, acme)


def test_keys_of_others_are_not_found(mallory, acme, umbrella, secret_key):
    client = signed_in(mallory)

    for tenant in (acme, umbrella):
        problem(client.get(url(tenant, secret_key.key.pk)), 404)
        problem(client.delete(url(tenant, secret_key.key.pk)), 404)
        problem(client.post(url(tenant, secret_key.key.pk, "rotate"), {}), 404)
    problem(client.get(url(umbrella, ObjectId())), 404)
    problem(client.get(url(umbrella, "nonsense")), 404)
    assert is_accepted(secret_key.secret, acme)


def test_a_revoked_key_is_refused_at_the_next_request_and_gone_from_the_list(alice, acme, secret_key):
    assert is_accepted(secret_key.secret, acme)

    assert signed_in(alice).delete(url(acme, secret_key.key.pk)).status_code == 204

    assert not is_accepted(secret_key.secret, acme)
    assert signed_in(alice).get(url(acme)).data["results"] == []
    problem(signed_in(alice).delete(url(acme, secret_key.key.pk)), 404)


def test_a_rotated_key_stays_valid_for_the_overlap(alice, acme, secret_key):
    response = signed_in(alice).post(url(acme, secret_key.key.pk, "rotate"), {"overlap_seconds": 600})

    assert response.status_code == 201
    assert response.data["scopes"] == secret_key.key.scopes
    assert is_accepted(secret_key.secret, acme)
    assert is_accepted(response.data["key"], acme)
    old = signed_in(alice).get(url(acme, secret_key.key.pk)).data
    assert old["replaced_by"] == response.data["id"]
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        assert not ApiKey.objects.find_by_secret(secret_key.secret).is_usable
        assert ApiKey.objects.find_by_secret(response.data["key"]).is_usable


def test_rotating_without_overlap_ends_the_old_key_at_once(alice, acme, secret_key):
    signed_in(alice).post(url(acme, secret_key.key.pk, "rotate"), {"overlap_seconds": 0})

    assert not is_accepted(secret_key.secret, acme)


def test_rotation_never_prolongs_a_key(alice, acme):
    soon = timezone.now() + timedelta(minutes=1)
    key = issue(acme, alice, expires_at=soon).key

    key.rotate(overlap=timedelta(days=1), by=by(alice))

    assert key.expires_at == soon.replace(microsecond=soon.microsecond // 1000 * 1000)


def test_a_key_is_rotated_once(alice, acme, secret_key):
    rotate = url(acme, secret_key.key.pk, "rotate")
    signed_in(alice).post(rotate, {})

    assert problem(signed_in(alice).post(rotate, {}), 409) == "key_replaced"


def test_a_key_rotated_in_parallel_has_one_successor(alice, acme, secret_key):
    keys = [ApiKey.objects.select_related("tenant__plan").get(pk=secret_key.key.pk) for _ in range(6)]

    outcomes = run_concurrently(*[lambda k=k: k.rotate(overlap=timedelta(0), by=by(alice)) for k in keys])

    assert sum(isinstance(outcome, IssuedKey) for outcome in outcomes) == 1
    assert acme.api_keys.count() == 2


@pytest.mark.parametrize("overlap", [-1, 604_801, "soon", None, 1.5])
def test_invalid_overlaps_are_refused(alice, acme, secret_key, overlap):
    response = signed_in(alice).post(
        url(acme, secret_key.key.pk, "rotate"), {"overlap_seconds": overlap}, format="json"
    )

    problem(response, 400)


def test_the_plan_limits_keys_and_a_rotated_key_counts_once(alice, acme):
    limited(acme, max_api_keys=1)
    first = issue(acme, alice)

    assert problem(signed_in(alice).post(url(acme), {"name": "Second"}), 409) == "plan_limit"
    assert signed_in(alice).post(url(acme, first.key.pk, "rotate"), {}).status_code == 201
    problem(signed_in(alice).post(url(acme), {"name": "Second"}), 409)


def test_revoked_and_expired_keys_make_room(alice, acme):
    limited(acme, max_api_keys=1)
    issue(acme, alice).key.revoke(by(alice))
    issue(acme, alice, expires_at=timezone.now() - timedelta(seconds=1))

    issue(acme, alice)


def test_keys_issued_concurrently_do_not_exceed_the_plan(alice, acme):
    limited(acme, max_api_keys=3)

    outcomes = run_concurrently(*[lambda: issue(acme, alice)] * 8)

    assert sum(isinstance(outcome, PlanLimit) for outcome in outcomes) == 5
    assert acme.api_keys.count() == 3


def test_events_of_keys_are_recorded_without_secrets(alice, acme):
    key = signed_in(alice).post(url(acme), {"name": "Server"}).data
    rotated = signed_in(alice).post(url(acme, key["id"], "rotate"), {}).data
    signed_in(alice).delete(url(acme, rotated["id"]))

    events = AuditEvent.objects.filter(tenant_id=acme.pk, target_type="apikey").order_by("created_at", "id")
    assert [event.action for event in events] == ["api_key.issued", "api_key.rotated", "api_key.revoked"]
    recorded = str(list(AuditEvent.collection().find()))
    assert key["key"] not in recorded
    assert rotated["key"] not in recorded


def test_the_oldest_revoked_keys_are_deleted(alice, acme, monkeypatch):
    monkeypatch.setattr(api_key, "MAX_ENDED_KEYS", 2)
    kept = issue(acme, alice).key
    for _ in range(4):
        issue(acme, alice).key.revoke(by(alice))
    rotated = kept.rotate(overlap=timedelta(0), by=by(alice)).key

    assert acme.api_keys.count() <= 4
    assert {rotated.pk, kept.pk} <= set(acme.api_keys.values_list("pk", flat=True))


def test_a_plan_without_a_limit_has_one_of_the_product(alice, acme, monkeypatch):
    limited(acme)
    monkeypatch.setattr(api_key, "MAX_KEYS", 2)
    assert [issue(acme, alice).key.is_usable for _ in range(2)] == [True, True]

    response = signed_in(alice).post(f"/api/tenants/{acme.pk}/api-keys", {"name": "x"})
    assert problem(response, 409) == "plan_limit"
