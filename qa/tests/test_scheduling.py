"""The files that the scheduling of a run in several processes names exist."""

from django.conf import settings

from qa.testing.scheduling import INDEPENDENT, LONG


def test_every_named_file_exists():
    assert [name for name in (*INDEPENDENT, *LONG) if not (settings.BASE_DIR / name).is_file()] == []


def test_independent_files_share_no_fixture():
    files = {name: (settings.BASE_DIR / name).read_text() for name in INDEPENDENT}

    assert [name for name, text in files.items() if 'scope="module"' in text] == []
