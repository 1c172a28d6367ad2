"""Web origins: `https://shop.example`, `https://*.shop.example` for its subdomains, or `*` for any."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from core.origins import MAX_ORIGIN_LENGTH, normalised_origin

MAX_PORT = 65535

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"https?://(\*\.)?({_LABEL}\.)*{_LABEL}(:(?P<port>[0-9]{{1,5}}))?")


def is_origin_pattern(text: str) -> bool:
    """Whether `text` is valid in a list of allowed origins."""
    if text == "*":
        return True
    match = _ORIGIN.fullmatch(text) if len(text) <= MAX_ORIGIN_LENGTH else None
    return match is not None and int(match["port"] or 0) <= MAX_PORT


def patterns_allowing(origin: str) -> list[str]:
    """Return every pattern that allows `origin`; none for an invalid origin such as "null"."""
    origin = normalised_origin(origin)
    if "*" in origin or not is_origin_pattern(origin):
        return []
    scheme, _, host = origin.partition("://")
    labels = host.split(".")
    parents = [f"{scheme}://*.{'.'.join(labels[depth:])}" for depth in range(1, len(labels))]
    return ["*", origin, *parents]


def is_localhost(origin: str) -> bool:
    """Whether `origin` is a page on the developer's machine, at any port."""
    return bool(patterns_allowing(origin)) and urlsplit(origin).hostname in ("localhost", "127.0.0.1")


def origin_is_allowed(origin: str, allowed: Collection[str]) -> bool:
    return not set(patterns_allowing(origin)).isdisjoint(allowed)
