"""Which representation a client gets."""

from __future__ import annotations

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation

# A client that wants a stream may say so; errors before the first event are problems all the same.
_ACCEPTED = ("*/*", "application/*", "application/json", "application/problem+json", "text/event-stream")


class JSONNegotiation(BaseContentNegotiation):
    """JSON whenever the client takes it or takes an event stream, else 406."""

    def select_parser(self, request, parsers):
        content_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(self, request, renderers, format_suffix=None):
        accept = request.headers.get("Accept") or "*/*"
        offers = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        if not any(offer in _ACCEPTED for offer in offers):
            raise NotAcceptable
        return renderers[0], renderers[0].media_type
