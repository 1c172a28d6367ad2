"""Content negotiation: JSON is the only representation."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

# A client that wants a stream may say so; errors before the first event are problems all the same.
_ACCEPTED = ("*/*", "application/*", "application/json", "application/problem+json", "text/event-stream")


class JSONNegotiation(BaseContentNegotiation):
    """JSON where the client accepts it or an event stream, else 406."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        accept = request.headers.get("Accept") or "*/*"
        offers = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        if not any(offer in _ACCEPTED for offer in offers):
            raise NotAcceptable
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""
