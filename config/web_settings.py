"""Settings of proxies, origins and mail; what is wrong is added to a list of problems, as a sentence."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from core.origins import normalised_origin

#: TRUSTED_PROXIES of a server that clients reach directly.
NO_PROXIES = "none"

_ORIGIN = re.compile(
    r"https?://(\*\.)?([a-z0-9_-]+\.)*[a-z0-9_-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?"
)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")

NO_MAIL_SERVER = "core.mail.NoMailServer"


def proxies(texts: list[str], problems: list[str]) -> list[IPv4Network | IPv6Network]:
    """Return the networks of addresses and networks such as `192.0.2.7` and `10.0.0.0/8`; [] for `none`."""
    networks = []
    for text in texts:
        if text.lower() == NO_PROXIES and len(texts) == 1:
            continue
        try:
            network = ip_network(text, strict=False)
        except ValueError as error:
            problems.append(
                f"TRUSTED_PROXIES: {error}. Write an address, a network such as 10.0.0.0/8, or none."
            )
            continue
        if not network.prefixlen:
            problems.append(
                f"TRUSTED_PROXIES must not be {text}: any client could then claim any address. "
                "Name the addresses or networks of the proxies."
            )
        networks.append(network)
    return networks


def origins(texts: list[str], problems: list[str]) -> list[str]:
    """Return origins in the form in which browsers send them: lower case, without the scheme's own port."""
    found = []
    for text in texts:
        origin = normalised_origin(text)
        if not _ORIGIN.fullmatch(origin):
            problems.append(
                f"TRUSTED_ORIGINS: {text!r} is no origin. Write https://host or https://host:port."
            )
            continue
        found.append(origin)
    return found


def path_prefix(text: str, problems: list[str]) -> str:
    """Return a path prefix without a slash at its end; "" for the root."""
    prefix = text.rstrip("/")
    if not prefix or _PREFIX.fullmatch(prefix):
        return prefix
    problems.append(f"PATH_PREFIX: {text!r} is no path. Write it as /assistant.")
    return ""


def public_url(text: str, problems: list[str]) -> str:
    """Return the URL of this platform, without a slash at its end."""
    url = text.rstrip("/")
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if _ORIGIN.fullmatch(f"{scheme}://{host}".lower()) and (not slash or _PREFIX.fullmatch(f"/{path}")):
        return url
    problems.append(f"PUBLIC_URL: {text!r} is no URL. Write it as https://chat.example.")
    return ""


def email(url: str, problems: list[str], *, production: bool) -> dict[str, Any]:
    """Return Django's settings of the mail server of a URL, which may hold a password.

    The log is no mail server: in production nothing is sent instead, because mails hold tokens.
    """
    try:
        found: dict[str, Any] = Env.email_url_config(url)
    except (ImproperlyConfigured, ValueError):
        problems.append("EMAIL_URL must be like smtp+tls://user:password@host:587.")
        return {"EMAIL_BACKEND": NO_MAIL_SERVER}
    if url.startswith("smtp") and not found["EMAIL_HOST"]:
        problems.append("EMAIL_URL has no host. Write smtp+tls://user:password@host:587.")
    if production and found["EMAIL_BACKEND"] == Env.EMAIL_SCHEMES["consolemail"]:
        found["EMAIL_BACKEND"] = NO_MAIL_SERVER
    return found
