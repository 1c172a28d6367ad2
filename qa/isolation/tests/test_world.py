"""What is not there can't leak: the world has some of everything."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix
from qa.isolation.snapshot import owned_models

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", owned_models(), ids=lambda model: model.__name__)
def test_umbrella_owns_every_kind_of_document(matrix: Matrix, model):
    column = owned_models()[model]

    assert model.collection().find_one({column: matrix.world.umbrella.tenant.pk})
