"""Full-text search: `Message.objects.filter(tenant=…, content__words="lost parcel")`."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.db import models
from django.db.models.lookups import Lookup


def words_of(text: str) -> list[str]:
    """Return the words of `text`, each once: split at spaces, without their outer punctuation.

    No character of them is an operator of the database.
    """
    parts = text.replace('"', " ").replace("\\", " ").split()
    words = (part.strip("".join(filter(_is_separator, part))) for part in parts)
    return list(dict.fromkeys(filter(None, words)))


def _is_separator(character: str) -> bool:
    """Return whether it is punctuation, a symbol or invisible; combining marks belong to their word."""
    return unicodedata.category(character)[0] in "PSZC"


@models.TextField.register_lookup
class Words(Lookup):
    """True where the text contains all words. Needs a `TextIndex` and exact values of the fields before it.

    A search text without any word finds nothing.
    """

    lookup_name = "words"
    prepare_rhs = False

    def as_mql(self, compiler: Any, connection: Any, as_expr: bool = False) -> dict[str, Any]:
        # In quotes every word is required, and a minus sign does not exclude it.
        quoted = " ".join(f'"{word}"' for word in words_of(self.rhs))
        return {"$text": {"$search": quoted}}
