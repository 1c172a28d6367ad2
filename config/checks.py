"""System checks of a deployment: `check --deploy` and, for warnings about settings, `serve` run them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from core import stores
from core.mail import has_mail_server
from core.mongo.deployment import database_problem

#: The tag of those about settings.
DEPLOYMENT = "deployment"


@checks.register(DEPLOYMENT, deploy=True)
def settings_of_production(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn in production about settings that are likely to be forgotten."""
    if not settings.PRODUCTION:
        return []
    found: list[checks.CheckMessage] = []
    if not settings.PROXIES_ARE_NAMED:
        found.append(
            checks.Warning(
                "TRUSTED_PROXIES is not set.",
                hint="Behind a proxy all clients would count as one address. Name its address or network, or "
                "set TRUSTED_PROXIES=none if there is none.",
                id="config.W001",
            )
        )
    if not has_mail_server():
        found.append(
            checks.Warning(
                "EMAIL_URL is not set.",
                hint="Invitations, new passwords and alerts are not mailed. Set it to "
                "smtp+tls://user:password@host:587.",
                id="config.W002",
            )
        )
    elif settings.DEFAULT_FROM_EMAIL.endswith("@localhost"):
        found.append(
            checks.Warning(
                f"EMAIL_FROM is {settings.DEFAULT_FROM_EMAIL}.",
                hint="Mail servers refuse it: set an address of your own.",
                id="config.W003",
            )
        )
    if "*" in settings.ALLOWED_HOSTS:
        found.append(
            checks.Warning(
                "ALLOWED_HOSTS is *.",
                hint="Name the hosts that clients use. Probes of health need none.",
                id="config.W004",
            )
        )
    return found


@checks.register(DEPLOYMENT, deploy=True)
def stores_of_requests(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report what makes `/ready` answer 503, beside the database's own checks."""
    if database_problem():
        return []
    return [checks.Error(problem, id="config.E002") for problem in stores.problems()]


@checks.register(deploy=True)
def migrations(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report missing migrations, with which `serve` does not start in production."""
    if database_problem():
        return []  # Reported by its own check.
    if missing := missing_migrations():
        message = f"{missing} migrations are missing. First run: python manage.py migrate"
        return [checks.Error(message, id="config.E001")]
    return []


def missing_migrations() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
