"""Middleware for what reverse proxies and probes do to a request: forwarded headers, and hosts of probes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.api.addresses import comes_from_private_network, comes_from_trusted_proxy

logger = logging.getLogger(__name__)

#: Monitoring calls them by the address of a machine or container, which is no name in ALLOWED_HOSTS.
PROBES = frozenset(("/health", "/ready", "/status", "/metrics"))

_FORWARDED_FOR = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
_FORWARDED = (*_FORWARDED_FOR, "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_VIA")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ProbeHost:
    """Lets probes name any Host: they are answered alike for all, and build no URL of it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].lstrip(".").replace("*", "localhost")
        return self.get_response(request)


class ForwardedHeaders:
    """Takes host, port and scheme of the client's request from trusted proxies, and from no others.

    While TRUSTED_PROXIES is not set, the scheme is taken from all: it opens nothing, and without it no
    form could be sent through a proxy.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._has_warned = False

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if comes_from_trusted_proxy(request):
            take_host(request)
        else:
            if settings.PROXIES_ARE_NAMED:
                request.META.pop("HTTP_X_FORWARDED_PROTO", None)
            if not self._has_warned:
                self._warn(request)
        return self.get_response(request)

    def _warn(self, request: HttpRequest) -> None:
        """Log the first header that a proxy has written and that is ignored."""
        name = next((name for name in _FORWARDED_FOR if request.META.get(name)), None)
        if name is None or (settings.PROXIES_ARE_NAMED and not _may_be_a_proxy(request)):
            return
        self._has_warned = True
        logger.warning(
            "a forwarded client address is ignored, and all clients of its proxy count as one: "
            "the proxy is not in TRUSTED_PROXIES",
            extra={"header": name[5:].replace("_", "-").title(), "proxy": request.META["REMOTE_ADDR"]},
        )


def is_forwarded(request: HttpRequest) -> bool:
    """Return whether a header says that the request came through a proxy."""
    return any(request.META.get(name) for name in _FORWARDED)


def _may_be_a_proxy(request: HttpRequest) -> bool:
    """Whether the peer is near; clients elsewhere may write such a header themselves. None, with `none`."""
    return bool(settings.TRUSTED_PROXIES) and comes_from_private_network(request)


def take_host(request: HttpRequest) -> None:
    """Use the host and port that the client named, as far as the proxy has passed them on."""
    host = request.META.get("HTTP_X_FORWARDED_HOST", "").partition(",")[0].strip()
    host = host or request.META.get("HTTP_HOST", "")
    port = request.META.get("HTTP_X_FORWARDED_PORT", "").partition(",")[0].strip()
    has_port = host.rpartition("]")[2].count(":") == 1
    if host and port.isascii() and port.isdigit() and port not in ("80", "443") and not has_port:
        host = f"{host}:{port}"
    if host:
        request.META["HTTP_HOST"] = host
