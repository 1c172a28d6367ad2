"""Where a request comes from, as far as it can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

#: An IPv6 client chooses freely among this many leading bits' worth of addresses.
_IPV6_CLIENT_PREFIX = 64


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address in canonical form, "" if the socket has none.

    `X-Forwarded-For` counts only as far as `settings.TRUSTED_PROXIES` wrote it: read from the
    right, the first hop that is no trusted proxy is the client. What stands further left, or
    left of something that is no address, is the client's own claim and is not read.
    """
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    if address is None:
        return ""
    for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if not _is_trusted(address):
            break
        named = _parsed(hop)
        if named is None:
            break
        address = named
    return str(address)


def client_network(request: HttpRequest) -> str:
    """Return what to count an anonymous client by: its address, for IPv6 its /64.

    One IPv6 client has 2**64 addresses to change between.
    """
    address = client_address(request)
    return str(ip_network((address, _IPV6_CLIENT_PREFIX), strict=False)) if ":" in address else address


def _is_trusted(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Read `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
