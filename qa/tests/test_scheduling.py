"""What the scheduling of a run in several processes names exists."""

from django.conf import settings

from qa.testing.scheduling import INDEPENDENT, LONG, TOGETHER


def test_every_named_file_and_folder_exists():
    named = (*INDEPENDENT, *LONG, *(f"{name}*" for name in TOGETHER))
    assert [name for name in named if not list(settings.BASE_DIR.glob(name))] == []


def test_independent_files_share_no_fixture():
    files = {name: (settings.BASE_DIR / name).read_text() for name in INDEPENDENT}

    assert [name for name, text in files.items() if 'scope="module"' in text] == []
