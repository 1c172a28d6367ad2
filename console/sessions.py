"""The sessions of staff in the console: stored, so that a copied cookie is worth nothing after the logout."""

from __future__ import annotations

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache


class SessionStore(CacheStore):
    """Django's store in a cache, which is looked up by the first use: every request has a session object."""

    def __init__(self, session_key: str | None = None) -> None:
        SessionBase.__init__(self, session_key)

    @property
    def _cache(self) -> BaseCache:
        return caches["sessions"]
