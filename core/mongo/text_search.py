"""Full-text search: `Message.objects.filter(tenant=…, content__words="lost parcel")`.

MongoDB's text index splits at spaces and punctuation. So a text is stored with its `inner_words`, a second
text for the index: the pieces by which words are found that stand beside others without a space (Chinese,
Japanese, Thai) or together with their endings (Korean), and emoji.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db import models
from django.db.models.lookups import Lookup

#: Inner words are those of the beginning of a text, and at most so many: each costs an entry of the index.
MAX_INNER_CHARS = 20_000
MAX_INNER_WORDS = 5000

#: Scripts whose words are written without spaces, or together with endings: Thai, Lao, Tibetan, Burmese,
#: Hangul, Khmer, Tai, Balinese, kana, bopomofo, Yi, Javanese, Han.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3040-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\ua960-\ua97f\ua980-\ua9ff\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
_SYMBOLS = (
    "\u00a9\u00ae\u203c\u2049\u20e3\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

_SPECIAL = re.compile(f"[{_UNSPACED}{_SYMBOLS}]")
_SEGMENT = re.compile(f"(?P<symbol>[{_SYMBOLS}])|(?P<run>[{_UNSPACED}]+)|(?P<word>[^\\W{_UNSPACED}]+)")

#: Chooses one of two forms of a symbol, which people do not choose.
_VARIATION = re.compile("[\ufe0e\ufe0f]")


def words_of(text: str) -> list[str]:
    """Return the words of `text`, each once: split at spaces, without their outer punctuation.

    No character of them is an operator of the database.
    """
    words = (part.strip("".join(filter(_is_separator, part))) for part in _parts(text))
    return list(dict.fromkeys(filter(None, words)))


def inner_words(text: str) -> str:
    """Return the words for the index that it does not find in `text` by itself, separated by spaces.

    Of a run of a script without spaces each character and each pair, of a symbol its code point, and the
    words that stand beside either without a space.
    """
    if not _SPECIAL.search(text):
        return ""
    parts = filter(_SPECIAL.search, text[:MAX_INNER_CHARS].split())
    found = dict.fromkeys(word for part in parts for word in _inner_words_of(part))
    return " ".join(islice(found, MAX_INNER_WORDS))


def search_expression(text: str) -> str:
    """Return what the database searches for so that all words of `text` are required; "" without any word.

    In quotes a word is required, and a minus sign does not exclude it.
    """
    required: dict[str, None] = {}
    for part in _parts(text):
        if _SPECIAL.search(part):
            required.update(dict.fromkeys(_required_within(_VARIATION.sub("", part))))
        else:
            required.update(dict.fromkeys(words_of(part)))
    return " ".join(f'"{word}"' for word in required)


def _parts(text: str) -> list[str]:
    return text.replace('"', " ").replace("\\", " ").split()


def _inner_words_of(part: str) -> Iterator[str]:
    for match in _SEGMENT.finditer(part):
        segment = match[0]
        if match.lastgroup == "symbol":
            yield _symbol_word(segment)
        elif match.lastgroup == "run":
            for index, character in enumerate(segment):
                yield character
                if index:
                    yield segment[index - 1 : index + 1]
        else:
            yield segment


def _required_within(part: str) -> Iterator[str]:
    """Yield a word of the index that every text with `part` has, and the part itself, which must occur."""
    runs = []
    for match in _SEGMENT.finditer(part):
        if match.lastgroup == "symbol":
            yield _symbol_word(match[0])
        elif match.lastgroup == "run":
            runs.append(match[0])
    if runs:
        yield _rarest_pair(max(runs, key=len))
    yield part.strip("".join(character for character in part if unicodedata.category(character)[0] in "PZC"))


def _rarest_pair(run: str) -> str:
    """Return the pair of characters that is likely to be in the fewest texts: without marks, of Han."""
    pairs = [run[index : index + 2] for index in range(len(run) - 1)] or [run]
    return max(pairs, key=lambda pair: (sum(map(str.isalpha, pair)), len(_HAN.findall(pair))))


def _symbol_word(symbol: str) -> str:
    return f"u{ord(symbol):x}"


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
        return {"$text": {"$search": search_expression(self.rhs)}}
