"""Visitors: people on a client's website, known only by a short-lived token for their one session.

A public key creates a session and gets the token with it. The token is signed and bound to tenant, key,
session, visitor and origin; it alone opens that session again, so one visitor cannot read another's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from bson import ObjectId
from bson.errors import InvalidId
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from core.api.addresses import client_address
from core.api.middleware import add_log_fields
from tenants.access import Access, TenantCaller, require_active
from tenants.access.callers import lookup_credential
from tenants.authentication import refuse_misuse
from tenants.models import ApiKey
from tenants.models.tenant import tenant_of

_AUDIENCE = "chat-agent-platform/visitor"


@dataclass(frozen=True, slots=True)
class VisitorToken:
    """What a visitor's token says."""

    tenant_id: ObjectId
    key_id: ObjectId
    session_id: ObjectId
    visitor: str
    origin: str

    def encode(self) -> str:
        """Return the signed token, valid for `VISITOR_TOKEN_SECONDS`."""
        claims = {
            "aud": _AUDIENCE,
            "exp": int(time.time()) + settings.VISITOR_TOKEN_SECONDS,
            "tenant": str(self.tenant_id),
            "key": str(self.key_id),
            "sid": str(self.session_id),
            "visitor": self.visitor,
            "origin": self.origin,
        }
        return jwt.encode(claims, settings.SIMPLE_JWT["SIGNING_KEY"], algorithm="HS256")

    @classmethod
    def decode(cls, token: str) -> VisitorToken | None:
        """Return what a valid token says; None for any other token."""
        try:
            claims = jwt.decode(
                token,
                settings.SIMPLE_JWT["SIGNING_KEY"],
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"require": ["exp", "aud"]},
            )
            return cls(
                ObjectId(claims["tenant"]),
                ObjectId(claims["key"]),
                ObjectId(claims["sid"]),
                claims["visitor"],
                claims["origin"],
            )
        except (jwt.PyJWTError, KeyError, InvalidId, TypeError):
            return None


@dataclass(frozen=True)
class VisitorCaller(TenantCaller):
    """A visitor in its own session. The credential is the public key that the token was given to."""

    token: VisitorToken
    address: str = ""

    @property
    def rate_key(self) -> str:
        return f"visitor:{self.token.tenant_id}:{self.token.visitor}"

    @property
    def rate_scope(self) -> str:
        return "visitor"

    @property
    def is_public(self) -> bool:
        return True

    @property
    def own_session_id(self) -> ObjectId:
        return self.token.session_id

    def access_to(self, tenant_id: ObjectId) -> None:
        return None

    def reach(self, session_id: ObjectId) -> dict[str, Any] | None:
        if session_id != self.token.session_id:
            return None
        return {"_id": session_id, "tenant_id": self.token.tenant_id, "visitor": self.token.visitor}

    def lookup_credential(self) -> list[dict[str, Any]]:
        return lookup_credential(ApiKey, {"_id": self.token.key_id})

    def access_from(self, document: Mapping[str, Any]) -> Access:
        tenant = tenant_of(document)
        require_active(tenant)
        key = ApiKey.from_document(document["credential"])
        key.tenant = tenant
        if not key.is_usable:
            raise AuthenticationFailed("The API key is not valid.", "api_key_invalid")
        refuse_misuse(key, self.address, self.token.origin)
        return Access(
            tenant, key=key, visitor=self.token.visitor, origin=self.token.origin, address=self.address
        )


class VisitorAuthentication(BaseAuthentication):
    """`Authorization: Bearer <visitor token>`, from the origin it was given to."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, VisitorCaller] | None:
        scheme, _, credentials = get_authorization_header(request).decode("latin-1").partition(" ")
        token = VisitorToken.decode(credentials.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            return None  # perhaps a user's access token: the next class reads it
        if request.headers.get("Origin", "") != token.origin:
            raise AuthenticationFailed("This token belongs to another origin.", "wrong_origin")
        add_log_fields(request, visitor=token.visitor)
        return AnonymousUser(), VisitorCaller(token, client_address(request))

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
