"""How many tokens a text has, for fitting it into a window: for any script, code, emoji and base64.

Tokenizers differ, so this is measured against one, OpenAI's o200k (of gpt-oss, and of GPT-4o and later): for
texts that people and programs write the estimate is at least the truth and at most twice that
(`llm/tests/test_token_estimate.py`). Where another tokenizer needs more, the target refuses the request, and
a shorter one is sent (`llm.windows`).

Everything here is counted by passes over bytes, a hundred megabytes a second: a window may hold four.
"""

from __future__ import annotations

import re

from llm.canonical import Message, Request

#: An image that an answer contains in full, as the readers of `llm.providers` write it.
_EMBEDDED_IMAGE = re.compile(r"!\[image\]\(data:[^()\s]*\)")

#: Providers count an image by its tiles; this is what a large one has.
TOKENS_PER_IMAGE = 1600

#: What a provider's format adds to each message (role, separators).
TOKENS_PER_MESSAGE = 8


def _table(**ranges: str) -> bytes:
    """Return a translation of bytes: those in the ranges of each letter become that letter, others `.`."""
    table = bytearray(b"." * 256)
    for letter, members in ranges.items():
        for byte in members.encode():
            table[byte] = ord(letter)
    return bytes(table)


_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_SPACE = " \t\r\n\v\f"
_PUNCTUATION = "".join(chr(code) for code in range(33, 127) if not chr(code).isalnum())

#: The kinds of ASCII characters: lower, upper, digit, space, newline, tab, punctuation.
_KINDS = _table(l=_LOWER, u=_LOWER.upper(), d=_DIGITS, s=" ", n="\n\r", t="\t", p=_PUNCTUATION)

_ALL_KINDS = (b"l", b"u", b"d", b"s", b"n", b"t", b"p", b".")

#: Characters of which a tokenizer has tokens for long runs: indentation, rules, empty lines.
_REPEATED = [character.encode() for character in " \n-=_*#.~+/|"]

#: Where a word of letters and digits is none: identifiers, base64, hexadecimal numbers.
_TURNS = (b"lu", b"ld", b"dl", b"ud", b"du")

#: Tokens of a character by its block of 256 code points (in UTF-16: of a code unit), other than ASCII.
_BLOCKS: dict[str, tuple[float, str]] = {
    "a": (0.85, "00 01 02 1e"),  # Latin with diacritics, within words that are counted without them
    "b": (0.44, "04 06"),  # Cyrillic, Arabic
    "c": (0.55, "03 05"),  # Greek, Armenian, Hebrew
    "e": (0.52, "09 0a 0b"),  # Devanagari, Bengali, Gurmukhi, Gujarati, Odia, Tamil
    "f": (0.68, "0c 0d 0e"),  # Telugu, Kannada, Malayalam, Sinhala, Thai
    "l": (0.6, "10"),  # Burmese, Georgian
    "m": (1.2, "20"),  # Quotation marks, dashes
    "n": (0.4, "fe"),  # Variants of emoji
    "g": (1.2, "17"),  # Khmer
    "h": (1.0, "30"),  # Kana, and their punctuation
    "i": (1.3, " ".join(f"{block:02x}" for block in [*range(0x34, 0xA0), 0xFF])),  # Han, full-width forms
    "j": (1.0, " ".join(f"{block:02x}" for block in range(0xAC, 0xD8))),  # Hangul
    "k": (2.0, " ".join(f"{block:02x}" for block in [*range(0xD8, 0xE0), *range(0x21, 0x2E)])),
    # Emoji and rare scripts, half a character each; symbols
}
_OTHERS = 2.4

#: What needs more than the rest of its block: combining marks, Odia, Lao, capitals of words in capitals.
_MORE = {
    "c": ((2.0, re.compile("[\u0300-\u036f]")), (1.0, re.compile("[\u0391-\u03a9]{2}"))),
    "b": ((1.3, re.compile("[\u0410-\u042f]{2}")),),
    "e": ((1.0, re.compile("[\u0b00-\u0b7f]")),),
    "f": ((1.8, re.compile("[\u0e80-\u0eff]")),),
}
_BLOCK_TABLE = bytearray(b"z" * 256)
for _letter, (_, _blocks) in _BLOCKS.items():
    for _block in _blocks.split():
        _BLOCK_TABLE[int(_block, 16)] = ord(_letter)
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


def without_images(text: str) -> tuple[str, int]:
    """Return `text` with `[image]` for every image that it contains in full, and their number."""
    return _EMBEDDED_IMAGE.subn("[image]", text) if "](data:" in text else (text, 0)


def tokens(text: str) -> int:
    """Return the estimated tokens of `text`; an image that it contains in full counts as one."""
    text, images = without_images(text)
    ascii_bytes = text.encode("ascii", "ignore") if not text.isascii() else text.encode()
    count = _ascii_tokens(ascii_bytes)
    if len(ascii_bytes) < len(text):
        count += _other_tokens("".join(_NON_ASCII.findall(text)))
    return int(count) + 1 + images * TOKENS_PER_IMAGE if text else 0


def message_tokens(message: Message) -> int:
    """Return the estimated tokens of a message, with its media and calls."""
    texts = [message.text, message.reasoning, *_calls(message)]
    return TOKENS_PER_MESSAGE + sum(map(tokens, texts)) + _media_tokens(message)


def request_tokens(request: Request) -> int:
    """Return the estimated tokens of everything that `request` sends."""
    return sum(map(message_tokens, request.messages)) + sum(map(tokens, _fixed_texts(request)))


def most_tokens(request: Request) -> int:
    """Return the most tokens that `request` can have, without reading it: the bytes of its texts."""
    texts = _fixed_texts(request)
    others = 0
    for message in request.messages:
        texts += [message.text, message.reasoning, *_calls(message)]
        others += TOKENS_PER_MESSAGE + _media_tokens(message)
    return others + sum(len(text) if text.isascii() else len(text.encode(errors="replace")) for text in texts)


def _calls(message: Message) -> list[str]:
    return [call.name + call.arguments for call in message.tool_calls]


def _media_tokens(message: Message) -> int:
    """Return the tokens of images by their tiles; a recording or a document has 64 bytes a token or more."""
    return sum(
        max(TOKENS_PER_IMAGE, len(each.url) // 64 if each.kind != "image" else 0) for each in message.media
    )


def _fixed_texts(request: Request) -> list[str]:
    tools = [f"{tool.name}{tool.description}{tool.parameters or ''}" for tool in request.tools]
    return [request.system, *tools, str(request.json_schema or "")]


def _ascii_tokens(text: bytes) -> float:
    for character in _REPEATED:
        if character != b"\n":
            text = text.replace(character * 64, character * 2)
        text = text.replace(character * 8, character)
    kinds = text.translate(_KINDS)
    letters = 0.93 * kinds.count(b"llll") + 5 * kinds.count(b"l" * 16) + _runs(kinds, b"l")
    capitals = 1.2 * kinds.count(b"uu") + kinds.count(b"sus")
    turns = 0.7 * sum(map(kinds.count, _TURNS))
    digits = 0.6 * kinds.count(b"d") + 0.4 * _runs(kinds, b"d")
    punctuation = 0.63 * kinds.count(b"p") + 0.4 * _runs(kinds, b"p")
    spaces = kinds.count(b"ss") + kinds.count(b"sd") + kinds.count(b"n") + 0.6 * kinds.count(b"t")
    return letters + capitals + turns + digits + punctuation + spaces


def _runs(kinds: bytes, kind: bytes) -> int:
    """Return the number of runs of `kind`."""
    return sum(kinds.count(other + kind) for other in _ALL_KINDS if other != kind) + kinds.startswith(kind)


def _other_tokens(text: str) -> float:
    blocks = text.encode("utf-16-le", "surrogatepass")[1::2].translate(bytes(_BLOCK_TABLE))
    count = _OTHERS * blocks.count(b"z")
    for letter, (rate, _) in _BLOCKS.items():
        if members := blocks.count(letter.encode()):
            count += rate * members
            count += sum(more * len(pattern.findall(text)) for more, pattern in _MORE.get(letter, ()))
    return count
