"""One bad record in shared work: the others are served, it is set aside, counted, and shown to staff.

The work is collected from the source: every job, every command and every background thread has a case here,
or a reason why it has none.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from django.conf import settings
from django.core import mail
from django.core.management import CommandError, call_command, get_commands
from django.test import Client
from django.utils import timezone

from accounts.models import User
from chat.models import ChatSession, Message
from chat.turns import heartbeat, replies
from chat.turns.access_watch import StreamGrant, revoked_among
from chat.turns.replies import Checkpoint
from core.jobs import set_aside
from core.jobs.models import SetAside
from llm.canonical import Target
from qa.testing.tenants import limited
from tenants.access import Access
from tenants.access.rights import SEND_MESSAGES
from tenants.billing.limits import month_of
from tenants.models import Membership, Tenant, Usage
from tenants.models.membership import Role

APPS = ("accounts", "chat", "config", "console", "core", "llm", "tenants")

#: For each piece of shared work the function that serves one member; it is made to fail for one.
PER_TENANT = {
    "send_usage_alerts": ("tenants.billing.alerts", "_due"),
    "rollup_analytics": ("chat.analytics.rollups", "first_activity"),
    "prune": ("chat.retention", "retention_days"),
    "purge_tenants": ("tenants.management.commands.purge_tenants", "purge"),
}

#: Work whose poisoned members have tests of their own beside it.
ELSEWHERE = {
    "deliver_webhooks": "tenants/webhooks/tests/test_fair_delivery.py",
    "verify_ledger": "chat/tests/test_settlement.py",
    "chat.turns.settlement": "chat/tests/test_settlement.py",
}

#: Background threads with a case below.
THREADS = {"chat.turns.access_watch", "chat.turns.heartbeat", "chat.turns.reply_watch"}

NO_MEMBERS = {
    "demo": "one conversation",
    "erase": "one subject, named by its caller",
    "models": "the catalogue",
    "run_jobs": "jobs, each in its own thread: core/jobs/tests/test_jobs.py",
    "seed_demo": "one tenant",
    "serve": "starts processes",
    "test_providers": "each provider in its own thread: llm/tests/test_probe.py",
}


def product_commands() -> set[str]:
    return {name for name, app in get_commands().items() if str(app).split(".")[0] in APPS}


def modules_with_background_threads() -> set[str]:
    found = set()
    for path in (path for app in APPS for path in (settings.BASE_DIR / app).rglob("*.py")):
        if "tests" in path.parts:
            continue
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(getattr(call.func, "id", "") == "BackgroundThread" for call in calls):
            found.add(".".join(path.relative_to(settings.BASE_DIR).with_suffix("").parts))
    return found


def test_every_shared_work_has_a_case_or_a_reason():
    assert set(settings.JOBS) <= PER_TENANT.keys() | ELSEWHERE.keys()
    assert product_commands() - PER_TENANT.keys() - ELSEWHERE.keys() == NO_MEMBERS.keys() & product_commands()
    assert modules_with_background_threads() == THREADS | (ELSEWHERE.keys() - product_commands())
    assert all((Path(settings.BASE_DIR) / path).exists() for path in ELSEWHERE.values())


# -- jobs --------------------------------------------------------------------------------------


def tenant_in(argument: Any) -> ObjectId:
    """Return the id of the tenant that the argument of a member's function is, or belongs to."""
    if isinstance(argument, ObjectId):
        return argument
    return argument.tenant_id if isinstance(argument, Usage) else argument.pk


@pytest.fixture
def members(acme: Tenant, umbrella: Tenant, work: str) -> list[Tenant]:
    """Two tenants with something to do for every job."""
    for tenant in (acme, umbrella):
        Usage.objects.admit(
            limited(tenant, messages_per_month=1, retention_days=1), reservation_id=ObjectId(), tokens=0,
            cost=Decimal(0), lease_seconds=60,
        )  # fmt: skip
    if work == "purge_tenants":
        Tenant.objects.update(deleted_at=timezone.now() - timedelta(days=365))
    return [acme, umbrella]


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("field"), RecursionError(), OverflowError()], ids=repr
)
@pytest.mark.parametrize("work", PER_TENANT)
def test_a_tenant_with_which_a_job_fails_is_set_aside_and_the_others_are_served(
    members, work, error, monkeypatch
):
    module, name = PER_TENANT[work]
    serve: Callable[..., Any] = getattr(import_module(module), name)
    bad, good = members
    served = []

    def failing(argument: Any, *rest: Any) -> Any:
        if tenant_in(argument) == bad.pk:
            raise error
        served.append(tenant_in(argument))
        return serve(argument, *rest)

    monkeypatch.setattr(f"{module}.{name}", failing)
    before = set_aside.failures.labels(work)._value.get()
    with pytest.raises(CommandError, match=str(bad.pk)):
        call_command(work, stdout=StringIO())

    assert good.pk in served
    record = SetAside.objects.get(work=work)
    assert (record.tenant_id, record.attempts) == (bad.pk, 1)
    assert set_aside.failures.labels(work)._value.get() == before + 1
    call_command(work, stdout=StringIO())  # It is not tried again before it is due.


def test_a_tenant_whose_usage_cannot_be_read_keeps_no_other_from_its_alerts(acme, umbrella):
    for tenant in (acme, umbrella):
        limited(tenant, messages_per_month=1)
        Usage.objects.of(tenant)
    months = {month_of(timezone.now()): {"messages": 1}}
    Usage.collection().update_one({"_id": umbrella.pk}, {"$set": {"months": months}})
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"months": {month_of(timezone.now()): "many"}}})
    with pytest.raises(CommandError, match=str(acme.pk)):
        call_command("send_usage_alerts", stdout=StringIO())
    assert [message.subject for message in mail.outbox] == ["Umbrella: 100 % of messages per month used"]


def test_what_is_set_aside_is_shown_in_the_console(db):
    SetAside.objects.record("prune", "a tenant", "KeyError: 'field'", None)
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "a long passphrase"))
    page = client.get("/admin/jobs/setaside/").content.decode()
    assert "a tenant" in page
    assert "KeyError" in page


# -- background threads ----------------------------------------------------------------------------


def streaming(session: ChatSession) -> Message:
    """Return a running reply of the session."""
    seq = Message.objects.count() + 1
    return Message.objects.create(
        session=session, tenant=session.tenant, seq=seq, role="assistant", status="streaming",
        in_reply_to_id=ObjectId(), lease_until=timezone.now() + timedelta(minutes=1),
    )  # fmt: skip


def test_a_text_that_cannot_be_stored_keeps_no_other_turn_from_its_lease(session, monkeypatch):
    bad, good = streaming(session), streaming(session)

    class Driven:
        def __init__(self, reply: Message, text: str) -> None:
            self.due = Checkpoint(reply.pk, 1, 1, text, Target("groq", "m"))

        def checkpoint(self, *_: object) -> Checkpoint:
            return self.due

    turns = [Driven(bad, "x" * 17_000_000), Driven(good, "Hello")]
    monkeypatch.setattr(heartbeat, "turns", lambda: turns)
    heartbeat._flush()
    assert Message.objects.get(pk=good.pk).content == "Hello"
    assert SetAside.objects.get().member == str(bad.pk)


def test_a_reply_that_cannot_be_read_keeps_no_other_reader_from_following(session):
    bad, good = streaming(session), streaming(session)
    Message.collection().update_one({"_id": bad.pk}, {"$unset": {"provider": ""}})
    Message.collection().update_one({"_id": bad.pk}, {"$set": {"created_at": 7}})
    Message.collection().update_one({"_id": good.pk}, {"$set": {"reservation": None}})
    assert [reply.id for reply in replies.find_replies([bad.pk, good.pk])] == [good.pk]


@pytest.mark.parametrize("role", ["emperor", None, 7])
def test_access_that_cannot_be_checked_ends_and_the_others_are_checked(acme, alice, umbrella, mallory, role):
    grants = [
        StreamGrant(Access(tenant=tenant, user=user, role=Role.ADMIN), SEND_MESSAGES, lambda: None)
        for tenant, user in ((acme, alice), (umbrella, mallory))
    ]
    Membership.collection().update_one({"tenant_id": acme.pk, "user_id": alice.pk}, {"$set": {"role": role}})
    assert revoked_among(grants) == grants[:1]
