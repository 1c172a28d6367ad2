"""Web origins in the form in which browsers send them."""

from __future__ import annotations

_DEFAULT_PORTS = {"http": "80", "https": "443"}

#: `https://`, a host name, which has at most 253 characters, and a port.
MAX_ORIGIN_LENGTH = 300


def normalised_origin(text: str) -> str:
    """Return an origin, or a pattern of origins, as a browser would write it.

    In lower case, a host name in its ASCII form, without the default port of its scheme and without a slash
    at its end. What is no origin is returned in lower case.
    """
    text = text.strip().lower()
    scheme, separator, host = text.partition("://")
    if not separator or len(text) > MAX_ORIGIN_LENGTH:
        return text
    host = host.removesuffix("/")
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        host = name if port.lstrip("0") == _DEFAULT_PORTS.get(scheme) else f"{name}:{port.lstrip('0') or '0'}"
    return f"{scheme}://{_in_ascii(host)}"


def _in_ascii(host: str) -> str:
    if host.isascii():
        return host
    name, colon, port = host.partition(":")
    try:
        return name.encode("idna").decode("ascii") + colon + port
    except UnicodeError:  # it has no form in DNS
        return host
