"""The origin of the page that sends a request."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from core.origins import normalised_origin


def page_origin(request: HttpRequest | Request) -> str:
    """Return the origin of the page that sends `request`, "" for what is not sent by a page.

    Browsers leave `Origin` out of a GET from a page of the API's own origin. `Sec-Fetch-Site`, which no page
    can set, then says so, and `Referer` names the page; browsers without the former (Safari before 16.4) send
    that alone. https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/
    """
    if origin := request.headers.get("Origin", ""):
        return normalised_origin(origin)
    site = request.headers.get("Sec-Fetch-Site")
    if request.method not in SAFE_METHODS or site not in (None, "same-origin"):
        return ""
    if referrer := _origin_of(request.headers.get("Referer", "")):
        return referrer
    return "" if site is None else normalised_origin(f"{request.scheme}://{request.get_host()}")


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an unclosed bracket
        return ""
    return normalised_origin(f"{parts.scheme}://{parts.netloc}") if parts.netloc else ""
