"""Authentication of the callers below a tenant: an API key or a user's access token -> `request.auth`.

With a key `request.user` stays anonymous.
"""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts.authentication import JWTAuthentication
from accounts.callers import UserCaller
from accounts.models import User
from core.api.addresses import client_address, client_network
from core.api.middleware import add_log_fields
from core.api.page_origin import page_origin
from tenants.access.access import TenantSuspended
from tenants.access.callers import KeyCaller, MemberCaller
from tenants.access.misplaced_credentials import refuse_key_as_token, refuse_token_as_key
from tenants.models import ApiKey


class MemberAuthentication(JWTAuthentication):
    """A user's access token. On routes below a tenant the user acts as its member."""

    caller_class = MemberCaller

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        refuse_key_as_token(request)
        return super().authenticate(request)


class InvalidKey(AuthenticationFailed):
    """One response for all invalid keys; `key`, None for an unknown one, is for tenants.denials alone."""

    default_detail = "The API key is not valid."
    default_code = "api_key_invalid"

    def __init__(self, key: ApiKey | None) -> None:
        super().__init__()
        self.key = key


class KeyMisused(PermissionDenied):
    """A valid key where it must not be used; `key` is for tenants.denials."""

    def __init__(self, key: ApiKey, detail: str, code: str) -> None:
        super().__init__(detail, code)
        self.key = key


class ApiKeyAuthentication(BaseAuthentication):
    """Reads `X-API-Key`; costs one query, none for what can't be a key.

    A key that is unknown, expired or revoked gets one and the same 401. A valid one that is used
    where it must not be gets a 403 that says why.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, KeyCaller] | None:
        secret = self.secret(request)
        if secret is None:
            return None
        refuse_token_as_key(secret)
        key = ApiKey.objects.find_by_secret(secret)
        if key is None or not key.is_usable:
            raise InvalidKey(key)
        address = client_address(request)
        origin = page_origin(request) if key.is_public else request.headers.get("Origin", "")
        add_log_fields(request, key=key.prefix, tenant=str(key.tenant.pk))
        refuse_misuse(key, address, origin)
        allow_reading(request)
        key.record_use(address, origin)
        return AnonymousUser(), KeyCaller(key, client_network(request), origin, address)

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


#: Detail and code, by whether the key is public.
_WRONG_ORIGIN = {
    True: ("This public key may only be used by pages of its allowed origins.", "origin_not_allowed"),
    False: (
        "A secret key must not be used in a browser. Use a public key there, or for a desktop app a key that "
        "is issued with allow_browser.",
        "secret_key_in_browser",
    ),
}


def allow_reading(request: Request) -> None:
    """Let the page that sends `request` read the response (tenants.cors): its origin was checked."""
    request._request.origin_of_key = request.headers.get("Origin", "")  # type: ignore[attr-defined] # read there with getattr


def refuse_misuse(key: ApiKey, address: str, origin: str) -> None:
    """Raise KeyMisused where the key must not be used."""
    if not key.allows_address(address):
        raise KeyMisused(key, "This key may not be used from this network.", "network_not_allowed")
    if not key.accepts_origin(origin):
        raise KeyMisused(key, *_WRONG_ORIGIN[key.is_public])
    if key.tenant.is_suspended:
        raise KeyMisused(key, TenantSuspended.default_detail, TenantSuspended.default_code)


def refuse_visitor(key: ApiKey, address: str, origin: str) -> None:
    """Raise KeyMisused where the key does not vouch for a visitor of this address and origin any more."""
    if not key.allows_visitor(address, origin):
        detail = "The key that this token was given by does not allow this origin or network."
        raise KeyMisused(key, detail, "origin_not_allowed")
    if key.tenant.is_suspended:
        raise KeyMisused(key, TenantSuspended.default_detail, TenantSuspended.default_code)
