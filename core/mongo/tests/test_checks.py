"""The check of the database server's version."""

from __future__ import annotations

import pytest
from django.core.checks import Tags, run_checks

from core.mongo import checks
from core.mongo.database import database


def warnings() -> list[str]:
    found = run_checks(tags=[Tags.database], databases=["default"])
    return [f"{warning.msg} {warning.hint}" for warning in found if warning.id == "mongo.W001"]


@pytest.fixture
def version(db) -> tuple[int, ...]:
    return tuple(database().client.server_info()["versionArray"][:2])


def test_production_warns_of_an_old_server(version, settings, monkeypatch):
    settings.PRODUCTION = True
    major, minor = version
    monkeypatch.setattr(checks, "SUPPORTED_VERSION", (major, minor + 1))

    assert warnings() == [
        f"MongoDB {major}.{minor} is out of support. Use MongoDB {major}.{minor + 1} or later in production."
    ]


def test_a_supported_server_and_development_have_no_warning(version, settings, monkeypatch):
    assert warnings() == []
    settings.PRODUCTION = True
    monkeypatch.setattr(checks, "SUPPORTED_VERSION", version)
    assert warnings() == []
