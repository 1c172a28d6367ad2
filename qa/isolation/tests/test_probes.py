"""The checks beyond the matrix."""

from __future__ import annotations

import pytest

from qa.isolation import probes
from qa.isolation.matrix import Matrix

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", probes.PROBES)
def test_a_probe_has_no_failures(matrix: Matrix, name: str):
    assert probes.run(matrix, name) == []
