"""Names of modules, folders and callers that are written as text exist: a stale one fails."""

from __future__ import annotations

import pytest
from django.conf import settings

from qa.isolation import mutation
from qa.isolation.exemptions import NOT_PRODUCT_CODE, STAFF_ONLY
from qa.isolation.matrix import Matrix
from qa.isolation.scopes import FOLDERS, stale_exemptions


def test_exempt_code_exists():
    assert stale_exemptions() == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_searched_folder_has_code(folder: str):
    assert any((settings.BASE_DIR / folder).rglob("*.py"))


@pytest.mark.parametrize("part", sorted(NOT_PRODUCT_CODE | STAFF_ONLY))
def test_an_excluded_part_of_a_module_name_is_in_use(part: str):
    modules = [path for folder in FOLDERS for path in (settings.BASE_DIR / folder).rglob("*.py")]

    assert any(part in (*path.parts[:-1], path.stem) for path in modules)


@pytest.mark.django_db
def test_callers_chosen_for_mutation_testing_exist(matrix: Matrix):
    assert matrix.dataset.callers.keys() >= mutation.CALLERS
