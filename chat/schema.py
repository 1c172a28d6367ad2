"""The visitor token in the API's schema."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class VisitorTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # Untyped upstream.
    target_class = "chat.visitors.VisitorAuthentication"
    name = "visitorToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        description = "The token of a visitor, from its origin: it opens the sessions of that visitor."
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}
