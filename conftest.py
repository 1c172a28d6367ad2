"""What all tests share: one database server, a restored database for every test, and fixtures."""

import logging
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from pymongo import monitoring
from pytest_django import DjangoDbBlocker

from core.mongo import embedded
from qa.command_log import CommandLog
from qa.snapshot import Pristine, drop_abandoned

pytest.register_assert_rewrite("qa.testing")
pytest_plugins = ["qa.testing.progress", "qa.testing.fixtures.tenants", "qa.testing.fixtures.chat"]

#: Registered before the first client is made: a client takes its listeners along.
COMMANDS = CommandLog()
monitoring.register(COMMANDS)

# -- Database -----------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Use the tests' own embedded server, and there a database of this run's own.

    So runs at the same time don't meet. Without xdist the server starts when a test first needs it.
    """
    run = os.environ.setdefault("TEST_RUN", str(os.getpid()))  # xdist's workers inherit their master's.
    default = settings.DATABASES["default"]
    default.setdefault("TEST", {})["NAME"] = f"test_{run}"
    if config.getoption("numprocesses", None) and not default["HOST"]:
        # Here in the master, which outlives the workers. Each has a database of its own there.
        default["HOST"] = os.environ["MONGODB_URI"] = _server_uri()


def _server_uri() -> str:
    return settings.DATABASES["default"]["HOST"] or embedded.ensure(embedded.data_dir(settings))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A migrated test database, restored after each test: transactions can't roll back here."""
    with django_db_blocker.unblock():
        connection.ensure_connection()
        drop_abandoned(connection.connection)
        pristine = Pristine(connection.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: pristine.restore())
        yield
    # The threads that keep and settle turns outlive the database; what they say of that helps nobody.
    logging.disable(logging.CRITICAL)


@pytest.fixture(scope="session")
def database_uri(django_db_setup: None) -> str:
    """The MONGODB_URI of the tests' database, for servers that serve many tests as processes."""
    return urlsplit(_server_uri())._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@pytest.fixture
def mongodb_uri(db: None, database_uri: str) -> str:
    """The same for a single test."""
    return database_uri


@pytest.fixture
def commands(db: None) -> CommandLog:
    """What is sent to the database: `with commands.recording() as recording: …`."""
    return COMMANDS
