"""Shared by all tests: one database server, a restored database for every test, and fixtures."""

import gc
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from pymongo import MongoClient, monitoring
from pytest_django import DjangoDbBlocker

from core import background
from core.mongo import embedded
from qa.command_log import CommandLog
from qa.snapshot import DatabaseSnapshot, drop_abandoned

pytest.register_assert_rewrite("qa.testing")
pytest_plugins = [
    "qa.testing.leftovers",
    "qa.testing.progress",
    "qa.testing.scheduling",
    "qa.testing.fixtures.tenants",
    "qa.testing.fixtures.chat",
]

#: How long the background work that runs at the end of a test may take.
BACKGROUND_SECONDS = 60

#: Registered before the first client is made: a client takes its listeners along.
COMMANDS = CommandLog()
monitoring.register(COMMANDS)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from searching what is loaded until now, and stays, again and again."""
    gc.collect()
    gc.freeze()


# -- Database -----------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Use the tests' own embedded server, and a database per run, so that concurrent runs are independent.

    Without xdist the server starts when the first test needs it.
    """
    run = os.environ.setdefault("TEST_RUN", str(os.getpid()))  # xdist's workers inherit it.
    default = settings.DATABASES["default"]
    default.setdefault("TEST", {})["NAME"] = f"test_{run}"
    if config.getoption("numprocesses", None) and not default["HOST"]:
        # In the main process, which outlives the workers. Each worker has its own database.
        default["HOST"] = os.environ["MONGODB_URI"] = _server_uri()


def _server_uri() -> str:
    return settings.DATABASES["default"]["HOST"] or _without_flushes(
        embedded.ensure(embedded.data_dir(settings))
    )


def _without_flushes(uri: str) -> str:
    """Let the tests' server confirm writes before they are on the disk, for a quarter of the CPU time.

    What it loses if it is killed are databases of tests. Tests that kill a server start their own.
    """
    with MongoClient[dict[str, Any]](uri) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        if config["writeConcernMajorityJournalDefault"]:
            config |= {"version": config["version"] + 1, "writeConcernMajorityJournalDefault": False}
            client.admin.command("replSetReconfig", config)
    return uri


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A migrated test database, restored after each test: transactions can't roll back here."""
    _server_uri()
    with django_db_blocker.unblock():
        connection.ensure_connection()
        drop_abandoned(connection.connection)
        snapshot = DatabaseSnapshot(connection.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: snapshot.restore())
        yield


@pytest.fixture(scope="session")
def database_uri(django_db_setup: None) -> str:
    """The MONGODB_URI of the tests' database, for server processes that are shared by many tests."""
    return urlsplit(_server_uri())._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@pytest.fixture
def mongodb_uri(db: None, database_uri: str) -> str:
    """The MONGODB_URI of the tests' database, for a single test."""
    return database_uri


@pytest.fixture(autouse=True)
def background_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the background threads of a test before its database is restored: none works for the next test."""
    if "db" in request.fixturenames or request.node.get_closest_marker("django_db"):
        request.getfixturevalue("_django_db_helper")  # Ends after this.
    yield
    background.stop_all(BACKGROUND_SECONDS)


@pytest.fixture
def commands(db: None) -> CommandLog:
    """Records commands sent to the database: `with commands.recording() as recording: …`."""
    return COMMANDS
