"""Finding documents by words of a text: `Message.objects.filter(tenant=…, content__words="lost parcel")`."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.db import models
from django.db.models.lookups import Lookup


def words_of(text: str) -> list[str]:
    """Return what stands between the spaces of `text` without its outer punctuation, each once.

    Nothing in it is an operator of the database.
    """
    parts = text.replace('"', " ").replace("\\", " ").split()
    words = (part.strip("".join(filter(_is_sign, part))) for part in parts)
    return list(dict.fromkeys(filter(None, words)))


def _is_sign(character: str) -> bool:
    """True for punctuation, symbols and what is invisible; marks upon letters belong to their word."""
    return unicodedata.category(character)[0] in "PSZC"


@models.TextField.register_lookup
class Words(Lookup):
    """All words are in the text. Needs a `TextIndex`, the fields before it, and what it is limited to.

    Without a single word in the question nothing is found.
    """

    lookup_name = "words"
    prepare_rhs = False

    def as_mql(self, compiler: Any, connection: Any, as_expr: bool = False) -> dict[str, Any]:
        # Between quotes all of the words are required, and a minus sign excludes nothing.
        quoted = " ".join(f'"{word}"' for word in words_of(self.rhs))
        return {"$text": {"$search": quoted}}
