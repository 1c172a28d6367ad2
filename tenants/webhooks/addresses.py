"""Allows a tenant's URL to lead to public addresses only.

Otherwise a tenant could make this server send requests to its own network, to its cloud's metadata service or
to itself (server-side request forgery).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Global in IANA's registry, but translated or relayed to other addresses, or special.
_NOT_PUBLIC = [
    ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 of a local network
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local, deprecated
        "192.88.99.0/24",  # 6to4 relays
        "192.0.0.0/24",  # IETF protocol assignments
        "168.63.129.16/32",  # Azure's host, on a public address: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    )
]


class AddressNotPublic(OSError):
    """A host has an address that is not on the public internet."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not any(address in network for network in _NOT_PUBLIC)
    )


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host` in the order to try them, from one DNS lookup.

    Raises AddressNotPublic if any of them is not public, OSError if there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for text in addresses:
        if not is_public(ip_address(text.partition("%")[0])):
            raise AddressNotPublic("The host is not on the public internet.")
    return addresses
