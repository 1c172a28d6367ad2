"""System checks of the database server; `migrate`, `serve` and `check --deploy` run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from core.mongo.database import database
from core.mongo.deployment import database_problem

#: Older ones get no security fixes (https://www.mongodb.com/legal/support-policy/lifecycles, 2026-11).
SUPPORTED_VERSION = (7, 0)


@checks.register(checks.Tags.database)
def database_server(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Report a server that cannot be used, and warn in production about one that is out of support."""
    if not databases:
        return []
    if problem := database_problem():
        return [checks.Error(str(problem), id="mongo.E001")]
    if not settings.PRODUCTION:
        return []
    version = database().client.server_info()["versionArray"]
    if tuple(version[:2]) >= SUPPORTED_VERSION:
        return []
    running, supported = (".".join(map(str, numbers[:2])) for numbers in (version, SUPPORTED_VERSION))
    return [
        checks.Warning(
            f"MongoDB {running} is out of support.",
            hint=f"Use MongoDB {supported} or later in production.",
            id="mongo.W001",
        )
    ]


@checks.register(deploy=True)
def deployed_database(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """The same for `check --deploy`, which otherwise leaves out the database."""
    return [] if databases else database_server(app_configs, databases=["default"])
