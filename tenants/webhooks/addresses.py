"""Which addresses a tenant's URL may lead to: those of the public internet.

Anything else would let a tenant have this server talk to its own network, its metadata service or
itself (server-side request forgery).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Global by the registry, and yet a way to somewhere else.
_DETOURS = [
    ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 of one's own
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local, as it was
        "192.88.99.0/24",  # relays of 6to4
        "192.0.0.0/24",  # for protocols
        "168.63.129.16/32",  # Azure's host, on a public address
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
        and not any(address in network for network in _DETOURS)
    )


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, looked up once, in the order to try them.

    Raises AddressNotPublic if only one of them is not public, and OSError when there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for text in addresses:
        if not is_public(ip_address(text.partition("%")[0])):
            raise AddressNotPublic("The host is not on the public internet.")
    return addresses
