"""Changes by management commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command, get_commands
from django.utils import timezone

from core.audit.models import AuditEvent
from qa.tests.audit_coverage.setup import NOTHING_CHANGES, Setup, acme_with
from tenants.models import Usage

#: Commands that record nothing, each with the reason.
UNRECORDED_COMMANDS = {
    "chaos": NOTHING_CHANGES,
    "check_isolation": "Works in a temporary database.",
    "deliver_webhooks": "Sends what is queued.",
    "demo": "A conversation by the API, whose routes are in test_api.py.",
    "fake_provider": NOTHING_CHANGES,
    "models": NOTHING_CHANGES,
    "prune": "Leaves a manifest; the retention period is a setting, whose change is recorded.",
    "rollup_analytics": "Stores metrics that are derived from messages.",
    "run_jobs": "Runs other commands, each of which is listed.",
    "send_usage_alerts": "Notifies of limits, changes none.",
    "serve": NOTHING_CHANGES,
    "test_providers": NOTHING_CHANGES,
}


def erase(setup: Setup) -> None:
    call_command("erase", tenant=str(setup.session.tenant_id), visitor="v_1")


def purge(setup: Setup) -> None:
    acme_with(deleted_at=timezone.now() - timedelta(days=31))(setup)
    call_command("purge_tenants")


def rebuild_usage(setup: Setup) -> None:
    Usage.objects.of(setup.acme)
    drifted = {"messages": 5, "tokens": 0, "cost": 0}
    Usage.collection().update_one({"_id": setup.acme.pk}, {"$set": {"months": {"2026-11": drifted}}})
    call_command("verify_ledger", repair=True)


RECORDED_COMMANDS: dict[str, tuple[str, Callable[[Setup], None]]] = {
    "erase": ("visitor.erased", erase),
    "purge_tenants": ("tenant.purged", purge),
    "seed_demo": ("user.password_changed", lambda setup: call_command("seed_demo")),
    "verify_ledger": ("usage.rebuilt", rebuild_usage),
}


def test_every_command_is_listed():
    ours = {
        name for name, app in get_commands().items() if (Path(settings.BASE_DIR) / app.split(".")[0]).is_dir()
    }

    assert ours == set(RECORDED_COMMANDS) | set(UNRECORDED_COMMANDS)


@pytest.mark.parametrize("command", RECORDED_COMMANDS)
def test_a_change_by_a_command_is_recorded(setup: Setup, command: str):
    action, run = RECORDED_COMMANDS[command]

    run(setup)

    (event,) = AuditEvent.objects.filter(action=action)
    assert event.actor_name == "system"
