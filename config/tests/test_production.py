"""A process with production's settings has neither `qa` nor any development package."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import secrets
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from django.conf import settings

PRODUCTION = {
    "DJANGO_ENV": "production",
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "ALLOWED_HOSTS": "chat.example.com",
    "MONGODB_URI": "mongodb://127.0.0.1:1/chat-agent",
    **{
        name: secrets.token_urlsafe(48)
        for name in ("SECRET_KEY", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "API_KEY_PEPPER")
    },
}

#: Loads everything that production may run: all views, system checks and commands.
PROGRAM = """
import importlib, json, sys
programs = []
sys.addaudithook(lambda name, values: name == "subprocess.Popen" and programs.append(values[0]))
import django
django.setup()
from django.apps import apps
from django.core.management import call_command, get_commands
import config.urls
call_command("check")
commands = get_commands()
for name, app in commands.items():
    importlib.import_module(f"{app}.management.commands.{name}")
json.dump({
    "apps": [app.name for app in apps.get_app_configs()],
    "commands": sorted(commands),
    "modules": sorted(sys.modules),
    "programs": programs,
}, sys.stdout)
"""


@functools.cache
def production_process() -> dict[str, list[str]]:
    """Return the apps, commands, loaded modules and executed programs of a process in production."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=settings.BASE_DIR,
        env=os.environ | PRODUCTION,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def development_packages() -> set[str]:
    """Return the top-level modules of the distributions that only development installs."""
    production = with_dependencies(required("requirements.txt"))
    development = required("requirements-dev.txt") | required("requirements-local.txt")
    return {
        module
        for module, distributions in packages_distributions().items()
        if {normalized(name) for name in distributions} <= development - production
    }


def required(file: str) -> set[str]:
    text = (settings.BASE_DIR / file).read_text()
    return {normalized(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def with_dependencies(distributions: set[str]) -> set[str]:
    """Return these distributions and all that they depend on, without extras."""
    found: set[str] = set()
    remaining = set(distributions)
    while remaining:
        found |= {name := remaining.pop()}
        with contextlib.suppress(PackageNotFoundError):
            requirements = [line for line in requires(name) or [] if "extra ==" not in line]
            names = (re.match(r"[\w.-]+", line) for line in requirements)
            remaining |= {normalized(match[0]) for match in names if match} - found
    return found


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_qa_is_neither_installed_nor_imported():
    process = production_process()

    assert "chat" in process["apps"]
    assert "qa" not in process["apps"]
    assert [name for name in process["modules"] if name.split(".")[0] == "qa"] == []


def test_no_test_module_is_imported():
    assert [name for name in production_process()["modules"] if "tests" in name.split(".")] == []


def test_no_development_package_is_imported():
    packages = development_packages()

    assert {"pytest", "hypothesis", "schemathesis", "playwright", "fiftyone", "xllamacpp"} <= packages
    assert packages.intersection(production_process()["modules"]) == set()


def test_a_start_runs_no_other_program():
    """A search for libraries, for example, runs a compiler and a linker: half of the time of a start."""
    assert production_process()["programs"] == []


def test_the_client_of_redis_is_imported_only_where_redis_is_used():
    assert "redis" not in production_process()["modules"]


def test_the_commands_of_qa_do_not_exist():
    commands = production_process()["commands"]

    assert {"serve", "run_jobs"} <= set(commands)
    assert {"chaos", "check_isolation", "fake_provider"}.isdisjoint(commands)
