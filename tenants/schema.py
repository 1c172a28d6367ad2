"""How the API's description names the two ways to send a key."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "tenants.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


class BearerKeyScheme(OpenApiAuthenticationExtension):
    target_class = "tenants.authentication.BearerKeyAuthentication"
    name = "BearerApiKey"

    def get_security_definition(self, auto_schema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of a tenant."}
