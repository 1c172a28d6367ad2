from __future__ import annotations

import pytest

from core.mongo.indexes import TextIndex
from core.mongo.text_search import words_of


def test_words_are_split_at_spaces_and_stripped_of_punctuation():
    assert words_of('-lost "parcel," (4711-B) lost… don\'t \\') == ["lost", "parcel", "4711-B", "don't"]
    assert words_of('"" -- \\ ?! 📦') == []


def test_a_text_index_can_be_serialized_in_a_migration():
    index = TextIndex(fields=["owner", "content"], text="content", name="words")
    path, args, kwargs = index.deconstruct()
    assert path == "core.mongo.indexes.TextIndex"
    assert TextIndex(*args, **kwargs) == index


def test_a_text_index_without_its_text_field_is_an_error():
    with pytest.raises(ValueError):
        TextIndex(fields=["owner"], text="content", name="words")
