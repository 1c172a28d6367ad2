"""`ETag` of single resources, and `If-Match` of requests that change them."""

from __future__ import annotations

import hashlib

from django.http import HttpRequest

from core.errors import PreconditionFailed
from core.mongo.models import Document


def etag(document: Document) -> str:
    """Return a strong tag that changes with every saved change of the document."""
    # To the millisecond, as the database keeps it: the tag is the same before and after a reload.
    state = f"{document.pk}:{document.updated_at.isoformat(timespec='milliseconds')}"
    return f'"{hashlib.sha256(state.encode()).hexdigest()[:24]}"'


def check_if_match(request: HttpRequest, document: Document) -> None:
    """Raise 412 if the request's If-Match names another state of the document than the current one.

    Otherwise the document is pinned to that state: what changes or deletes it afterwards requires it.
    """
    expected = request.headers.get("If-Match")
    if expected is None or expected.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in expected.split(",")}
    if etag(document) not in tags:
        raise PreconditionFailed
    document.pin()
