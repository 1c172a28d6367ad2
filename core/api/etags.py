"""`ETag` on single resources, `If-Match` on what changes them."""

from __future__ import annotations

import hashlib

from django.http import HttpRequest

from core.api.errors import PreconditionFailed
from core.mongo.models import Document


def etag(document: Document) -> str:
    """Return a strong tag that changes with every saved change of the document."""
    # Cut to the milliseconds that the database keeps: a tag is the same before and after a reload.
    state = f"{document.pk}:{document.updated_at.isoformat(timespec='milliseconds')}"
    return f'"{hashlib.sha256(state.encode()).hexdigest()[:24]}"'


def check_if_match(request: HttpRequest, document: Document) -> None:
    """Raise 412 when the client's If-Match names another state than the present one."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in wanted.split(",")}
    if etag(document) not in tags:
        raise PreconditionFailed
