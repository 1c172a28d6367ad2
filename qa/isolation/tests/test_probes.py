"""What is no cell of the matrix."""

from __future__ import annotations

import pytest

from qa.isolation import probes
from qa.isolation.matrix import Matrix

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", probes.PROBES)
def test_probe_finds_nothing(matrix: Matrix, name: str):
    assert probes.run(matrix, name) == []
