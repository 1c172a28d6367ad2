from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from qa.isolation.matrix import Matrix
from qa.isolation.scratch import furnished
from qa.snapshot import DatabaseSnapshot


@pytest.fixture(scope="module")
def matrix(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Matrix]:
    """The furnished world; it puts itself in order after every cell, and the database after the module."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        snapshot = DatabaseSnapshot(connection.database)
        # The world outlives a test: it takes longer to build than most tests take.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: None)
        try:
            with furnished() as matrix:
                yield matrix
        finally:
            snapshot.restore()
