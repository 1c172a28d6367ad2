"""System checks of the database server; `migrate`, `serve` and `check --database default` run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from core.mongo.database import database

#: Older ones get no security fixes (https://www.mongodb.com/legal/support-policy/lifecycles, 2026-11).
SUPPORTED_VERSION = (7, 0)


@checks.register(checks.Tags.database)
def server_version(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn in production about a server that is out of support."""
    if not databases or not settings.PRODUCTION:
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
