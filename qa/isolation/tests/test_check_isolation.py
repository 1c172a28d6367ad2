"""`manage.py check_isolation`, as an operator runs it."""

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

#: As an operator runs it. Nothing listens at the Redis: a command that used or cleared it would fail.
CONFIGURED = {"DJANGO_ENV": "development", "REDIS_URL": "redis://127.0.0.1:1/0"}

#: Has the product forget that a membership is one in a certain tenant.
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


def run(uri: str, program: list[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run it in a process of its own, which may close its connections and end."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "MONGODB_URI": uri, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def check(uri: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return run(uri, ["manage.py", "check_isolation"], *arguments, **environment)


def scratch_database(report: str) -> str:
    return re.search(r"scratch database (\w+)", report)[1]


def configured_documents() -> dict[str, str]:
    """The hash of every collection of the configured database."""
    return connection.database.command("dbHash")["collections"]


def test_it_reports_and_leaves_the_configured_database_and_cache_alone(mongodb_uri):
    User.objects.create_user("somebody@example.com")
    before = configured_documents()

    outcome = check(
        mongodb_uri, "--route", USAGE, "--pairs", "2", "--mutations", "MemberCaller.access_to", **CONFIGURED
    )

    assert outcome.returncode == 0, outcome.stderr
    assert f" 0  {USAGE}" in outcome.stdout
    assert "Mutation score: 100 %: of 2 scopes 2 are missed" in outcome.stdout
    assert "foreign ids are told from missing ones by time" in outcome.stdout
    assert "Nothing failed" in outcome.stdout
    assert configured_documents() == before
    scratch = scratch_database(outcome.stdout)
    assert scratch != connection.settings_dict["NAME"]
    assert scratch not in connection.connection.list_database_names()


def test_a_leak_fails_it_and_names_the_cell(mongodb_uri):
    leak = run(mongodb_uri, ["-c", BROKEN], "--route", USAGE, "--pairs", "0")

    assert leak.returncode == 1
    assert f"GET {USAGE} (foreign) by admin with Authorization: Bearer: 200 instead of 404" in leak.stderr
    assert scratch_database(leak.stdout) not in connection.connection.list_database_names()


def test_a_scope_that_nobody_misses_fails_it(mongodb_uri):
    outcome = check(mongodb_uri, *HEALTH_ALONE, "--mutations", "MemberCaller.access_to")

    assert outcome.returncode == 1
    assert "Mutation score: 0 %: of 2 scopes 0 are missed" in outcome.stdout
    assert "nobody misses tenants.access.callers:" in outcome.stderr


@override_settings(ROOT_URLCONF="qa.isolation.tests.urls_with_one_more")
def test_a_route_that_nobody_has_stated_fails_it():
    with pytest.raises(CommandError, match=r"without a row.*: api/tenants/<str:tenant_id>/unstated"):
        call_command("check_isolation")


def test_a_text_that_no_route_contains_is_refused():
    with pytest.raises(CommandError, match=r"No route contains api/nothing"):
        call_command("check_isolation", route=["api/nothing"])


def test_a_text_that_no_scope_contains_is_refused():
    with pytest.raises(CommandError, match=r"No scope contains nothing"):
        call_command("check_isolation", mutations="nothing")
