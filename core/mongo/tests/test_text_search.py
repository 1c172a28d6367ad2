from __future__ import annotations

import pytest

from core.mongo.indexes import TextIndex
from core.mongo.text_search import words_of


def test_words_are_what_stands_between_spaces_and_punctuation():
    assert words_of('-lost "parcel," (4711-B) lost… don\'t \\') == ["lost", "parcel", "4711-B", "don't"]
    assert words_of('"" -- \\ ?! 📦') == []


def test_migrations_can_write_a_text_index_down():
    index = TextIndex(fields=["owner", "content"], text="content", name="words")
    path, args, kwargs = index.deconstruct()
    assert path == "core.mongo.indexes.TextIndex"
    assert TextIndex(*args, **kwargs) == index


def test_a_text_index_has_its_text_among_its_fields():
    with pytest.raises(ValueError):
        TextIndex(fields=["owner"], text="content", name="words")
