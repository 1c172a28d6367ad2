"""The fixture of the matrix, for the packages whose tests need its dataset."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from core.mongo.database import database
from qa.isolation.environment import prepared_matrix
from qa.isolation.matrix import Matrix
from qa.snapshot import DatabaseSnapshot


@pytest.fixture(scope="module")
def matrix(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Matrix]:
    """A matrix with its dataset, which it restores after every case; the database is restored at the end."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        snapshot = DatabaseSnapshot(database())
        # The dataset is shared by the tests of a module: it takes longer to build than most of them take.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: None)
        try:
            with prepared_matrix() as matrix:
                yield matrix
        finally:
            snapshot.restore()
