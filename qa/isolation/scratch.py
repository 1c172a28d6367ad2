"""A provider and settings in which the matrix meets no limit but those it is about."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.test import override_settings

from qa.fake_provider.server import FakeProvider
from qa.isolation.matrix import Matrix
from qa.isolation.world import build
from qa.snapshot import drop_abandoned
from tenants.models import Tenant


@contextmanager
def database() -> Iterator[str]:
    """Have the default connection use a new, migrated database on its server; its name.

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
def furnished() -> Iterator[Matrix]:
    """Build the world in the database of the default connection, which is migrated and holds no tenant.

    Raises RuntimeError for one that does: the matrix changes and deletes what it finds.
    """
    if Tenant.objects.exists():
        raise RuntimeError(
            f"{connection.settings_dict['NAME']} holds tenants. The matrix needs a database of its own."
        )
    with FakeProvider() as fake, override_settings(**_unlimited(fake)), _quiet():
        yield Matrix(build(), fake)


def _unlimited(fake: FakeProvider) -> dict[str, object]:
    return {
        "ALLOWED_HOSTS": ["testserver"],
        # In the scratch database. The configured one may be a Redis that others use, and it is cleared here.
        "CACHES": {"default": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "cache"}},
        "RATELIMIT_ENABLE": False,
        "EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend",
        "LLM_ROUTE": ["groq"],
        "LLM_PROVIDERS": {
            name: {
                "api_key": "key-of-nobody" if name == "groq" else "",
                "base_url": fake.base_url(name),
                "model": "groq-model" if name == "groq" else "",
            }
            for name in settings.LLM_PROVIDERS
        },
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep thousands of refused requests out of the log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
