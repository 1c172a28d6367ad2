"""The dataset has documents of every kind: a leak of a kind that is missing would go undetected."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import Model

from qa.isolation.changes import owned_models
from qa.isolation.matrix import Matrix

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", owned_models(), ids=lambda model: model.__name__)
def test_umbrella_owns_a_document_of_every_kind(matrix: Matrix, model: type[Model]):
    collection = connection.database[model._meta.db_table]

    assert collection.find_one({owned_models()[model]: matrix.dataset.umbrella.tenant.pk})
