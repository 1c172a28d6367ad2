"""Whatever a caller can make the product keep has a bound, and a test of it.

One entry a collection, mail and counter. Models are found in the code: a new one fails without a bound.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.cache import caches

from core.mongo.cache import MongoCache
from qa.testing.urls import url_patterns


@dataclass(frozen=True)
class Bound:
    """What bounds it, and the test that fails if it does not hold: `path::test`."""

    text: str
    test: str


STAFF = "written by staff and migrations alone"
CHANGES = "tenants/tests/test_audit.py::test_a_caller_makes_a_bounded_number_of_recorded_changes_a_day"
KEPT = "chat/tests/test_kept_data.py"
NO_ROUTE = "qa/hostile/tests/test_kept_data.py::test_no_route_of_the_api_writes_what_is_for_staff"

BOUNDS: dict[str, Bound] = {
    "admin.LogEntry": Bound(STAFF, NO_ROUTE),
    "auth.Permission": Bound(STAFF, NO_ROUTE),
    "auth.Group": Bound(STAFF, NO_ROUTE),
    "contenttypes.ContentType": Bound(STAFF, NO_ROUTE),
    "sessions.Session": Bound("not used: sessions are in the cache", NO_ROUTE),
    "jobs.Job": Bound("one for each job of the settings", "core/jobs/tests/test_jobs.py"),
    "jobs.SetAside": Bound("one for each member of shared work, for 14 days", "core/jobs/tests/test_jobs.py"),
    "tenants.Plan": Bound(STAFF, NO_ROUTE),
    "audit.AuditEvent": Bound("2,000 changes a caller and day; 100 denials a tenant and hour", CHANGES),
    "accounts.User": Bound("10 registrations an hour and network", "accounts/tests/test_register.py"),
    "accounts.RefreshToken": Bound(
        "50 sessions of a user, 5,000 tokens of each, until they expire",
        "accounts/tests/test_kept_sessions.py::test_a_session_keeps_a_bounded_number_of_tokens",
    ),
    "tenants.Tenant": Bound(
        "the plan's tenants of one owner, 30 an hour",
        "tenants/tests/test_owner_limits.py::test_concurrent_requests_do_not_exceed_it",
    ),
    "tenants.Usage": Bound("one for each tenant; its months", "tenants/tests/test_owner_limits.py"),
    "tenants.Membership": Bound(
        "the plan's members; one for each user and tenant", "tenants/tests/test_members.py"
    ),
    "tenants.Invitation": Bound(
        "50 a tenant and day, for 97 days",
        "tenants/tests/test_invitations.py::test_a_tenant_and_an_inviter_mail_few_strangers_a_day",
    ),
    "tenants.ApiKey": Bound(
        "the plan's keys, 1,000 at most, and 200 that have ended",
        "tenants/tests/test_api_keys.py::test_the_oldest_revoked_keys_are_deleted",
    ),
    "tenants.Webhook": Bound("10 a tenant", "tenants/webhooks/tests/test_webhooks.py"),
    "tenants.WebhookDelivery": Bound(
        "events of limits and keys, for 30 days; tests by a rate", "tenants/webhooks/tests/test_webhooks.py"
    ),
    "tenants.LedgerEntry": Bound(
        "the plan's turns a minute, 8 attempts each", "tenants/billing/tests/test_admission_races.py"
    ),
    "tenants.Erasure": Bound("one at a time for each session or visitor", "chat/tests/test_erasure.py"),
    "tenants.ErasureManifest": Bound(
        "one for each erased session, which the plan limits by day",
        f"{KEPT}::test_concurrent_requests_do_not_exceed_the_day",
    ),
    "chat.ChatSession": Bound(
        "the plan's conversations a day and kept bytes",
        f"{KEPT}::test_conversations_of_a_day_are_limited_for_visitors_too",
    ),
    "chat.Message": Bound(
        "the plan's kept bytes; 100 runs of a reply",
        f"{KEPT}::test_kept_bytes_are_limited_and_deletion_makes_room",
    ),
    "chat.VisitorIdentity": Bound(
        "with a conversation, or as kept bytes; until it is not used for its lifetime",
        "chat/tests/test_visitor_identity.py::test_identities_count_as_kept_bytes",
    ),
    "chat.Rollup": Bound("one for each quarter hour and period", "chat/tests/test_analytics_rollups.py"),
    "chat.RollupCoverage": Bound("one for each tenant", "chat/tests/test_analytics_rollups.py"),
    "cache: cache": Bound("counters and states, which expire", "core/mongo/tests/test_cache.py"),
    "cache: kept_answers": Bound(
        "64 KiB an answer, 4 MiB a tenant or user and day",
        "core/api/tests/test_kept_answers.py::test_what_is_kept_for_a_caller_in_a_day_is_bounded",
    ),
    "cache: console_sessions": Bound("logins of staff, 14 days", "console/tests/test_sessions.py"),
    "mails: invitations": Bound(
        "3 a recipient and day",
        "tenants/tests/test_invitations.py::test_one_address_gets_few_invitations_a_day_from_all_tenants",
    ),
    "mails: passwords and confirmations": Bound(
        "3 a recipient and hour",
        "accounts/tests/test_password_reset.py::test_one_address_gets_few_mails_and_the_answer_does_not_change",
    ),
    "mails: alerts": Bound("each level once a month", "tenants/billing/tests/test_alerts.py"),
}

MAILING = re.compile(r"(send_mail|EmailMessage|send_mass_mail)\(")
MAILERS = {"tenants/models/invitation.py", "accounts/mailed_tokens.py", "tenants/billing/alerts.py"}


def test_every_collection_has_a_bound():
    models = {model._meta.label for model in apps.get_models() if model._meta.app_label != "qa"}
    stores = {
        f"cache: {settings.CACHES[alias]['LOCATION']}"
        for alias in settings.CACHES
        if isinstance(caches[alias], MongoCache)
    }

    assert models | stores == {name for name in BOUNDS if not name.startswith("mails: ")}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_has_its_test(name: str):
    path, _, test = BOUNDS[name].test.partition("::")
    file = Path(settings.BASE_DIR) / path

    assert file.exists()
    if test:
        functions = {
            node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert test in functions


def test_every_module_that_mails_has_a_bound():
    apps_of_product = ("accounts", "tenants", "chat", "core", "llm", "console")
    mailing = {
        str(file.relative_to(settings.BASE_DIR))
        for app in apps_of_product
        for file in (Path(settings.BASE_DIR) / app).rglob("*.py")
        if "tests" not in file.parts
        and re.search(r"(send_mail|EmailMessage|send_mass_mail)\(", file.read_text())
    }

    assert mailing == MAILERS


def test_no_route_of_the_api_writes_what_is_for_staff():
    """Views outside of the console have no serializer or queryset of these models."""
    for_staff = {name for name, bound in BOUNDS.items() if bound.test == NO_ROUTE}
    written = set()
    for route, pattern in url_patterns():
        view = getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
        queryset = getattr(view, "queryset", None)
        if not route.startswith("admin/") and queryset is not None:
            written.add(queryset.model._meta.label)

    assert not written & for_staff
