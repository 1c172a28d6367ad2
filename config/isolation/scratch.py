"""A provider and settings in which the matrix meets no limit but those it is about."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.test import override_settings

from config.isolation.matrix import Matrix
from config.isolation.world import build
from llm.fake.server import FakeProvider
from tenants.models import Tenant


@contextmanager
def database() -> Iterator[None]:
    """Have the default connection use a new, migrated database on its server, and drop that at the end."""
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"isolation_{os.getpid()}"
    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)


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
