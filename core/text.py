"""Identifiers that people type and sites send: one form for what looks alike."""

from __future__ import annotations

import unicodedata


def normalised_identifier(text: str) -> str:
    """Return an identifier as it is stored and looked up: composed (NFC), without outer spaces.

    Browsers, databases and file systems write the same letters composed or decomposed.
    """
    return unicodedata.normalize("NFC", text).strip()
