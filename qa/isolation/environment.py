"""The database, provider and settings that the matrix runs with."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.test import override_settings

from qa.fake_provider.server import FakeProvider
from qa.isolation.dataset import build
from qa.isolation.matrix import Matrix
from qa.snapshot import drop_abandoned
from tenants.models import Tenant


@contextmanager
def temporary_database() -> Iterator[str]:
    """Switch the default connection to a new, migrated database on its server; yield its name.

    It is dropped at the end, with those of runs that were killed. The connection is closed then.
    """
    connection.ensure_connection()
    drop_abandoned(connection.connection)
    configured = connection.settings_dict["NAME"]
    for_tests = settings.DATABASES["default"].setdefault("TEST", {})
    name_before, for_tests["NAME"] = for_tests.get("NAME"), f"isolation_{os.getpid()}"
    try:
        name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            yield name
        finally:
            connection.creation.destroy_test_db(configured, verbosity=0)
    finally:
        for_tests["NAME"] = name_before


@contextmanager
def prepared_matrix() -> Iterator[Matrix]:
    """Build the dataset in the database of the default connection, which is migrated and has no tenant.

    Raises RuntimeError for one that has: the matrix changes and deletes what it finds.
    """
    if Tenant.objects.exists():
        raise RuntimeError(
            f"{connection.settings_dict['NAME']} has tenants. The matrix needs an empty database."
        )
    with FakeProvider() as fake, override_settings(**_settings(fake)), _logging_disabled():
        yield Matrix(build(), fake)


def _settings(fake: FakeProvider) -> dict[str, object]:
    """Return settings without limits other than those of the dataset's plan."""
    return {
        "ALLOWED_HOSTS": ["testserver"],
        # In the temporary database: the configured cache may be a shared Redis, and this one is cleared.
        "CACHES": {
            alias: {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": name}
            for alias, name in (
                ("default", "cache"),
                ("answers", "kept_answers"),
                ("sessions", "console_sessions"),
            )
        },
        "RATELIMIT_ENABLE": False,
        "EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend",
        "LLM_ROUTE": ["groq"],
        "LLM_PROVIDERS": {
            name: {
                "api_key": "fake-key" if name == "groq" else "",
                "base_url": fake.base_url(name),
                "model": "groq-model" if name == "groq" else "",
            }
            for name in settings.LLM_PROVIDERS
        },
    }


@contextmanager
def _logging_disabled() -> Iterator[None]:
    """Keep thousands of refused requests out of the log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
