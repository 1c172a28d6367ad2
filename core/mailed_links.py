"""Links in mails to pages of this platform."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings


def mailed_link(path: str, *, email: str, token: str) -> str:
    """Return the URL of the page `path` for a mailed token.

    Address and token are in its fragment, which browsers send to no server. The host is that of the setting
    PUBLIC_URL, never that of a request, whose sender could choose it and get the tokens of others.
    """
    return f"{settings.PUBLIC_URL}{path}#{urlencode({'email': email, 'token': token})}"
