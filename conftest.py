"""What all tests share: one database server, and a pristine database for every test."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from config.mongo import embedded
from config.mongo.tests.pristine import Pristine

# -- Database -----------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Use the tests' own embedded server. Without xdist it starts when the first test needs it."""
    os.environ["DJANGO_ENV"] = settings.DJANGO_ENV = "test"
    default = settings.DATABASES["default"]
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
        pristine = Pristine(connection.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: pristine.restore())
        yield


@pytest.fixture
def mongodb_uri(db: None) -> str:
    """The MONGODB_URI of the test's database, for servers that a test starts as processes."""
    return urlsplit(_server_uri())._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
