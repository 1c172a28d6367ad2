"""The client's address, with `X-Forwarded-For` only from trusted proxies."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest

#: One IPv6 client has a whole network of this prefix length to choose addresses from.
_IPV6_CLIENT_PREFIX = 64


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address in canonical form, "" for a socket without one.

    `X-Forwarded-For` is read from the right, as far as `settings.TRUSTED_PROXIES` have written it:
    the first hop that is not a trusted proxy is the client. Hops further left, or left of a
    malformed one, are the client's own claims and are ignored.
    """
    return _address_of(request.META)


def client_network(request: HttpRequest) -> str:
    """Return what an anonymous client is counted by: its IPv4 address, or its IPv6 /64 network."""
    return network_of(request.META)


def network_of(environ: Mapping[str, Any]) -> str:
    """`client_network` of a request that has no HttpRequest yet."""
    address = _address_of(environ)
    return str(ip_network((address, _IPV6_CLIENT_PREFIX), strict=False)) if ":" in address else address


def comes_from_trusted_proxy(request: HttpRequest) -> bool:
    """Return whether the connection is from an address in `settings.TRUSTED_PROXIES`."""
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    return address is not None and _is_trusted(address)


def comes_from_private_network(request: HttpRequest) -> bool:
    """Return whether the connection, by a proxy or not, is from a private network."""
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    return address is not None and (address.is_private or address.is_loopback)


def _address_of(environ: Mapping[str, Any]) -> str:
    address = _parsed(environ.get("REMOTE_ADDR", ""))
    if address is None:
        return ""
    for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if not _is_trusted(address):
            break
        forwarded = _parsed(hop)
        if forwarded is None:
            break
        address = forwarded
    return str(address)


def _is_trusted(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; None for anything else."""
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
