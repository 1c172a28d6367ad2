"""An API key -> `request.auth`, an Access to the key's tenant. `request.user` stays anonymous."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from core.api.addresses import client_address, client_network
from tenants.access import Access, refuse_suspended
from tenants.models import ApiKey


class KeyRefused(AuthenticationFailed):
    """One answer for all: `refused_key`, None for an unknown one, is for tenants.denials alone."""

    default_detail = "The API key is not valid."
    default_code = "api_key_invalid"

    def __init__(self, key: ApiKey | None) -> None:
        super().__init__()
        self.refused_key = key


class ApiKeyAuthentication(BaseAuthentication):
    """Reads `X-API-Key`; costs one query, none for what can't be a key.

    A key that is unknown, expired or revoked gets one and the same 401. A good one that is used
    where it must not be gets a 403 that says why.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Access] | None:
        secret = self.secret(request)
        if secret is None:
            return None
        key = ApiKey.objects.with_secret(secret)
        if key is None or not key.is_usable:
            raise KeyRefused(key)
        address = client_address(request)
        origin = request.headers.get("Origin", "")
        getattr(request, "log_fields", {}).update(key=key.prefix, tenant=str(key.tenant_id))
        try:
            _refuse_misuse(key, address, origin)
            refuse_suspended(key.tenant)
        except PermissionDenied as error:
            error.refused_key = key  # for tenants.denials
            raise
        # Tells tenants.cors that the page may read this answer.
        request._request.origin_of_key = origin
        key.note_use(address, origin)
        # One visitor of a site must not use up what the other visitors may do.
        who = f"key:{key.pk}:{client_network(request)}" if key.is_public else f"key:{key.pk}"
        return AnonymousUser(), Access(key.tenant, key=key, rate_key=who)

    def secret(self, request: Request) -> str | None:
        return request.headers.get("X-API-Key")

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="api"'


class BearerKeyAuthentication(ApiKeyAuthentication):
    """Reads `Authorization: Bearer <key>`, as clients of the OpenAI-compatible endpoint send it."""

    def secret(self, request: Request) -> str | None:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        return credentials.strip() if scheme.lower() == "bearer" else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _refuse_misuse(key: ApiKey, address: str, origin: str) -> None:
    if not key.allows_address(address):
        raise PermissionDenied("This key may not be used from this network.", "network_not_allowed")
    if key.is_public and not key.allows_origin(origin):
        raise PermissionDenied(
            "This public key may only be used by pages of its allowed origins.", "origin_not_allowed"
        )
    if not key.is_public and origin:
        raise PermissionDenied(
            "A secret key must not be used in a browser. Use a public key there.", "secret_key_in_browser"
        )
