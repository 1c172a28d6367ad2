"""The audit trail: who can read it, and that it can't be changed."""

from pathlib import Path

import pytest
from django.conf import settings
from django.db import IntegrityError
from django.test import Client

from accounts.models import User
from core.audit.models import AuditEvent
from core.mongo.append_only import AppendOnlyError
from qa.testing.tenants import by, problem, signed_in, with_key
from tenants.models import Tenant


def url(tenant) -> str:
    return f"/api/tenants/{tenant.pk}/audit"


def test_admins_read_who_did_what_from_where(alice, acme):
    signed_in(alice).patch(
        f"/api/tenants/{acme.pk}", {"name": "New"}, REMOTE_ADDR="192.0.2.9", HTTP_USER_AGENT="Curl"
    )

    event = signed_in(alice).get(url(acme)).data["results"][0]

    assert event["action"] == "tenant.updated"
    assert (event["actor"], event["actor_name"]) == (str(alice.pk), "alice@example.com")
    assert (event["address"], event["user_agent"]) == ("192.0.2.9", "Curl")
    assert (event["target_type"], event["target_id"]) == ("tenant", str(acme.pk))
    assert event["request_id"]
    assert event["changes"] == {"name": ["Acme", "New"]}


@pytest.mark.parametrize(("who", "status"), [("dave", 403), ("bob", 403), ("mallory", 404)])
def test_other_members_and_strangers_can_not_read_it(request, acme, who, status):
    problem(signed_in(request.getfixturevalue(who)).get(url(acme)), status)


def test_keys_can_not_read_it(acme, secret_key):
    problem(with_key(secret_key.secret).get(url(acme)), 403)


def test_events_of_another_tenant_are_not_listed(alice, acme, umbrella):
    actions = [event["target_id"] for event in signed_in(alice).get(url(acme)).data["results"]]

    assert str(umbrella.pk) not in actions


def test_the_trail_is_filtered_by_action_and_time(alice, bob, acme):
    client = signed_in(alice)
    client.patch(f"/api/tenants/{acme.pk}", {"name": "New"})
    client.patch(f"/api/tenants/{acme.pk}/members/{bob.pk}", {"role": "developer"})
    problem(signed_in(bob).delete(f"/api/tenants/{acme.pk}"), 403)

    def actions(query: str) -> list[str]:
        return [event["action"] for event in client.get(f"{url(acme)}?{query}").data["results"]]

    assert actions("") == ["member.refused", "member.role_changed", "tenant.updated", "tenant.created"]
    assert actions("action=member.role_changed") == ["member.role_changed"]
    assert actions("action=nothing.of_the_kind") == []
    assert actions("created_after=2999-01-01T00:00:00Z") == []
    assert problem(client.get(f"{url(acme)}?created_after=yesterday"), 400) == "invalid"


def test_a_denial_is_listed_with_its_reason(alice, bob, acme):
    problem(signed_in(bob).delete(f"/api/tenants/{acme.pk}"), 403)

    (event,) = signed_in(alice).get(f"{url(acme)}?action=member.refused").data["results"]

    assert (event["reason"], event["asked"]) == ("role_too_low", "DELETE /api/tenants/<str:tenant_id>")
    assert "once" not in event


# -- append-only ---------------------------------------------------------------


def stored() -> list[dict]:
    return list(AuditEvent.collection().find().sort("_id"))


def save_again() -> None:
    AuditEvent.objects.first().save()


def replace_by_id() -> None:
    AuditEvent(pk=AuditEvent.objects.first().pk, action="nothing").save()


def update_by_bulk() -> None:
    event = AuditEvent.objects.first()
    event.action = "nothing"
    AuditEvent.objects.bulk_update([event], ["action"])


ATTEMPTS = {
    "save": save_again,
    "save in its place": replace_by_id,
    "delete": lambda: AuditEvent.objects.first().delete(),
    "delete all": lambda: AuditEvent.objects.all().delete(),
    "update": lambda: AuditEvent.objects.update(action="nothing"),
    "update some": lambda: AuditEvent.objects.filter(action="tenant.created").update(action="nothing"),
    "bulk update": update_by_bulk,
    "update or create": lambda: AuditEvent.objects.update_or_create(
        action="tenant.created", defaults={"action": "nothing"}
    ),
    "of a tenant": lambda: AuditEvent.objects.of_tenant(Tenant.objects.get().pk).delete(),
    "with the tenant": lambda: Tenant.objects.get().delete(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_event_can_be_changed_or_deleted(acme, attempt):
    before = stored()

    with pytest.raises((AppendOnlyError, IntegrityError)):
        ATTEMPTS[attempt]()

    assert stored() == before


def test_events_outlive_the_users_they_name(alice, acme):
    before = stored()

    User.objects.filter(pk=alice.pk).delete()

    assert stored() == before


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_api_can_not_write_events(alice, acme, method):
    before = stored()

    assert problem(getattr(signed_in(alice), method)(url(acme), {}), 405) == "method_not_allowed"

    assert stored() == before


def test_staff_can_read_events_but_not_write_them(acme):
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.com"))
    event, page = AuditEvent.objects.get(action="tenant.created"), "/admin/audit/auditevent"
    before = stored()

    assert staff.get(f"{page}/?tenant_id__exact={acme.pk}&action=tenant.created").status_code == 200
    assert "Acme" in staff.get(f"{page}/{event.pk}/change/").content.decode()
    for path in (f"{page}/add/", f"{page}/{event.pk}/change/", f"{page}/{event.pk}/delete/"):
        assert staff.post(path, {"action": "nothing"}).status_code == 403
    staff.post(f"{page}/", {"action": "delete_selected", "_selected_action": str(event.pk), "post": "yes"})

    assert stored() == before


def test_only_erasure_and_purge_bypass_the_model():
    """The collection itself is writable: every use of it is listed here, and leaves a manifest."""
    uses = {
        f"{path.relative_to(settings.BASE_DIR)}: {line.strip()}"
        for app in ("config", "console", "core", "accounts", "tenants", "chat", "llm")
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py")
        if "tests" not in path.parts and "migrations" not in path.parts
        for line in path.read_text().splitlines()
        if "AuditEvent.collection()" in line or "tenants_auditevent" in line
    }

    assert uses == {
        'chat/erasure.py: erasure.clear(AuditEvent.collection(), {**own, "actor_id": user_id}, no_actor)',
        "chat/erasure.py: erasure.clear(AuditEvent.collection(), about_user, "
        '{"target_id": "", "target_name": ""})',
        "core/audit/denials.py: return AuditEvent.collection().count_documents(keys, "
        "limit=MAX_PER_HOUR) >= MAX_PER_HOUR",
        'core/audit/models.py: db_table = "tenants_auditevent"',
    }


def test_a_change_without_effect_is_not_recorded(alice, acme):
    before = AuditEvent.objects.count()

    acme.change(by(alice), name=acme.name)

    assert AuditEvent.objects.count() == before


def test_long_values_are_truncated(alice, acme):
    acme.change(by(alice), system_prompt="x" * 5000)

    assert len(AuditEvent.objects.first().changes["system_prompt"][1]) == 501


def test_a_caller_makes_a_bounded_number_of_recorded_changes_a_day(alice, acme, settings):
    settings.RATES = {**settings.RATES, "changes": "2/d"}
    client = signed_in(alice)
    statuses = [client.patch(f"/api/tenants/{acme.pk}", {"name": f"N{n}"}).status_code for n in range(3)]
    profile = client.put("/api/auth/profile", {"name": "New"})

    assert statuses == [200, 200, 429]
    assert problem(profile, 429) == "rate_limited"
    assert client.get(f"/api/tenants/{acme.pk}").status_code == 200
