"""Content-Security-Policy: the configured one for pages, the strictest one for all other responses."""

from __future__ import annotations

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponseBase

#: In case a browser renders data as a page: it may load nothing and must not be framed.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"


class ContentSecurityPolicy(CSPMiddleware):
    """Building a page's policy takes as long as all other middleware together: too long for API responses."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        response["Content-Security-Policy"] = DATA_POLICY
        return response
