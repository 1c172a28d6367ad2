"""What the documents name exists: files, folders, tests and make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
#: Folders of what is installed or made here, with documents of others.
_NOT_OURS = {"var", "staticfiles", "node_modules"}
_FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in _NOT_OURS}
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", *(f"{name}/**/README.md" for name in _FOLDERS if name[0].isalpha()))
    for path in ROOT.glob(pattern)
)
#: What the examples of CONTRIBUTING.md add.
EXAMPLES = {"acme", "test_plan_page"}

_PATH = re.compile(r"(?<![\w/:.<-])((?:[a-z_]+/)+[a-z_0-9]*(?:\.[a-z]+)?)(?:::(\w+))?(?![\w/<*…-])")


def _named_paths(document: Path) -> list[tuple[str, str]]:
    text = document.read_text()
    return [
        (path, test)
        for path, test in _PATH.findall(text)
        if path.split("/")[0] in _FOLDERS and not any(name in path for name in EXAMPLES)
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_and_tests_exist(document):
    missing = [path for path, _ in _named_paths(document) if not (ROOT / path).exists()]
    assert missing == []
    unknown = [
        f"{path}::{test}"
        for path, test in _named_paths(document)
        if test and f"def {test}(" not in (ROOT / path).read_text()
    ]
    assert unknown == []


def test_named_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", document.read_text(), re.MULTILINE)
        for target in target
        if target
    }
    assert named
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
