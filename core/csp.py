"""Content-Security-Policy: the configured one for pages, the strictest for everything else."""

from __future__ import annotations

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponseBase

#: Data loads nothing and is framed by nobody, should a browser ever take it for a page.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"


class ContentSecurityPolicy(CSPMiddleware):
    """Composing a page's policy takes as long as all other middleware: too long for answers of the API."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        response["Content-Security-Policy"] = DATA_POLICY
        return response
