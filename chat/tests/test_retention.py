"""Conversations are deleted after the retention period: as a whole, and never while in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from bson import ObjectId
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from chat import retention
from chat.models import ChatSession, Message
from qa.testing.tenants import limited
from qa.testing.waiting import wait_until
from tenants.models import Erasure, ErasureManifest, Tenant


def converse(tenant: Tenant, idle_days: float, messages: int = 2, **fields) -> ChatSession:
    """Store a session whose messages were sent over ten days, the last of them `idle_days` ago."""
    last = timezone.now() - timedelta(days=idle_days)
    session = ChatSession.objects.create(tenant=tenant, last_message_at=last, visitor="v_ada")
    rows = []
    for seq in range(1, messages + 1):
        at = last - timedelta(days=10 * (messages - seq) / messages)
        role = "user" if seq % 2 else "assistant"
        row = {"session": session, "tenant": tenant, "seq": seq, "role": role, "content": f"text {seq}"}
        rows.append(Message.objects.create(**row, finished_at=at, **fields))
        Message.objects.filter(pk=rows[-1].pk).update(created_at=at)
    return session


def prune(*options: str) -> list[str]:
    out = StringIO()
    call_command("prune", *options, stdout=out)
    return out.getvalue().splitlines()


def remaining() -> set[ObjectId]:
    """Return the remaining sessions. Checks that each still has messages and that no others are left."""
    sessions = set(ChatSession.objects.values_list("pk", flat=True))
    assert set(Message.objects.values_list("session_id", flat=True)) == sessions
    return sessions


@pytest.fixture
def month(acme) -> Tenant:
    """Acme, on a plan with a retention period of 30 days."""
    return limited(acme, retention_days=30)


def test_inactive_conversations_are_deleted_and_others_stay_complete(month):
    for _ in range(3):
        converse(month, idle_days=31)
    kept = converse(month, idle_days=29, messages=20)  # Begun 38 days ago.

    [line] = prune("--batch", "2")

    assert line == f"{month.pk} {month.slug} keeps 30 days: 3 sessions, 6 messages removed"
    assert remaining() == {kept.pk}
    assert Message.objects.count() == 20
    assert prune() == [f"{month.pk} {month.slug} keeps 30 days: 0 sessions, 0 messages removed"]


def test_a_tenants_own_setting_overrides_its_plans(month, umbrella):
    Tenant.objects.filter(pk=month.pk).update(retention_days=7)
    limited(umbrella, retention_days=None)
    converse(month, idle_days=8)
    unlimited = converse(umbrella, idle_days=4000)

    prune()

    assert remaining() == {unlimited.pk}


def test_the_command_can_be_limited_to_one_tenant(month, umbrella):
    limited(umbrella, retention_days=1)
    converse(month, idle_days=31)
    other = converse(umbrella, idle_days=31)

    assert len(prune("--tenant", str(month.pk))) == 1
    assert remaining() == {other.pk}
    for wrong in ("x", str(ObjectId())):
        with pytest.raises(CommandError):
            prune("--tenant", wrong)


def test_a_dry_run_counts_and_deletes_nothing(month):
    converse(month, idle_days=31)

    assert prune("--dry-run") == [f"{month.pk} {month.slug} keeps 30 days: 1 sessions are due"]
    assert len(remaining()) == 1
    assert not Erasure.objects.exists()


@pytest.mark.parametrize("activity", ["running", "just asked", "just answered"])
def test_a_conversation_in_use_is_not_changed(month, activity):
    """The session's counters are updated up to a second later, so its messages decide."""
    session = converse(month, idle_days=31)
    change = {
        "running": {"status": "streaming", "finished_at": None},
        "just asked": {"created_at": timezone.now()},
        "just answered": {"finished_at": timezone.now()},
    }[activity]
    Message.objects.filter(session=session, seq=2).update(**change)
    converse(month, idle_days=32)

    prune("--batch", "1")

    assert remaining() == {session.pk}
    assert ChatSession.objects.get().status == "active"


def test_metrics_stay(month, alice, site):
    converse(month, idle_days=31, messages=6)
    span = f"from={timezone.now() - timedelta(days=60):%Y-%m-%d}&to={timezone.now():%Y-%m-%d}&interval=day"
    url = f"/api/chat/tenants/{month.pk}/analytics?{span}"
    before = site.get(url)
    assert before.status_code == 200, before.content
    assert before.json()["totals"]["messages"] == 3

    prune()

    assert not remaining()
    assert site.get(url).json() == before.json()


def test_a_killed_prune_is_finished_by_the_next(month, mongodb_uri, tmp_path):
    for _ in range(12):
        converse(month, idle_days=31, messages=4)
    environment = {**os.environ, "DJANGO_ENV": "test", "MONGODB_URI": mongodb_uri, "VAR_DIR": str(tmp_path)}
    command = [sys.executable, "manage.py", "prune", "--batch", "4"]
    process = subprocess.Popen(command, cwd=django_settings.BASE_DIR, env=environment)
    try:
        wait_until(lambda: ChatSession.objects.count() < 12, "a batch is removed")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sessions = ChatSession.objects.count()
    assert 0 < sessions < 12
    counts = Erasure.objects.get().removed
    assert counts["chat_chatsession"]["count"] == 12 - sessions
    assert counts["chat_message"]["count"] == 48 - Message.objects.count()

    [line] = prune()

    assert not remaining()
    assert line.endswith("12 sessions, 48 messages removed")
    assert ErasureManifest.objects.get().removed["chat_message"]["count"] == 48


def test_pruning_uses_indexes(month, commands):
    for _ in range(3):
        converse(month, idle_days=31)
    with commands.recording() as recording:
        assert retention.prune(Tenant.objects.get(pk=month.pk), batch=2).removed

    assert recording.slow_queries(connection.database) == []
