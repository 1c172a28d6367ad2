"""`manage.py check_isolation`, run as a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from accounts.models import User

USAGE = "api/tenants/<str:tenant_id>/usage"
HEALTH_ALONE = ("--route", "health", "--pairs", "0")

#: Nothing listens on this Redis: a command that used or cleared the configured cache would fail.
CONFIGURED = {"DJANGO_ENV": "development", "REDIS_URL": "redis://127.0.0.1:1/0"}

#: Runs the command with a product that does not check of which tenant a user is a member.
BROKEN = """
import os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from django.core.management import execute_from_command_line
from qa.isolation.scopes import find_scopes, without
name = "tenants.access.callers.MemberCaller.access_to: 'tenant_id': tenant_id"
(scope,) = (scope for scope in find_scopes() if scope.name == name)
with without(scope):
    execute_from_command_line(["manage.py", "check_isolation", *sys.argv[1:]])
"""


def run(
    uri: str, program: list[str], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it in its own process, where it may close its connections and exit."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "MONGODB_URI": uri, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def check(uri: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(uri, ["manage.py", "check_isolation"], *arguments, **environment)


def temporary_database(report: str) -> str:
    return re.findall(r"temporary database (\w+)", report)[0]


def configured_documents() -> dict[str, str]:
    """Return the hash of every collection of the configured database."""
    return connection.database.command("dbHash")["collections"]


def test_it_reports_and_does_not_change_the_configured_database_and_cache(mongodb_uri):
    User.objects.create_user("configured@example.com")
    before = configured_documents()

    outcome = check(
        mongodb_uri, "--route", USAGE, "--pairs", "2", "--mutations", "MemberCaller.access_to", **CONFIGURED
    )

    assert outcome.returncode == 0, outcome.stderr
    assert f" 0  {USAGE}" in outcome.stdout
    assert "Mutation score: 100 %: 2 of 2 scopes are detected" in outcome.stdout
    assert "foreign ids are distinguishable from missing ones by time" in outcome.stdout
    assert "No failures" in outcome.stdout
    assert configured_documents() == before
    temporary = temporary_database(outcome.stdout)
    assert temporary != connection.settings_dict["NAME"]
    assert temporary not in connection.connection.list_database_names()


def test_it_fails_on_a_leak_and_names_the_case(mongodb_uri):
    leak = run(mongodb_uri, ["-c", BROKEN], "--route", USAGE, "--pairs", "0")

    assert leak.returncode == 1
    assert f"GET {USAGE} (foreign) by admin with Authorization: Bearer: 200 instead of 404" in leak.stderr
    assert temporary_database(leak.stdout) not in connection.connection.list_database_names()


def test_it_fails_on_a_scope_that_can_be_dropped_undetected(mongodb_uri):
    outcome = check(mongodb_uri, *HEALTH_ALONE, "--mutations", "MemberCaller.access_to")

    assert outcome.returncode == 1
    assert "Mutation score: 0 %: 0 of 2 scopes are detected" in outcome.stdout
    assert "no check fails without tenants.access.callers:" in outcome.stderr


@override_settings(ROOT_URLCONF="qa.isolation.tests.urls_with_unlisted_route")
def test_it_fails_on_a_route_without_a_row():
    with pytest.raises(CommandError, match=r"without a row.*: api/tenants/<str:tenant_id>/unlisted"):
        call_command("check_isolation")


def test_a_text_that_no_route_contains_is_refused():
    with pytest.raises(CommandError, match=r"No route contains api/nothing"):
        call_command("check_isolation", route=["api/nothing"])


def test_a_text_that_no_scope_contains_is_refused():
    with pytest.raises(CommandError, match=r"No scope contains nothing"):
        call_command("check_isolation", mutations="nothing")
