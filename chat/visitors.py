"""Visitors: people on a client's website, known only by a short-lived pass to their one session.

A public key opens a session and gets the pass with it. The pass is a signed
token bound to tenant, key, session, visitor and origin; it alone opens that
session again, so one visitor cannot read another's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import jwt
from bson import ObjectId
from bson.errors import InvalidId
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

_AUDIENCE = "chat-agent-platform/visitor"


@dataclass(frozen=True, slots=True)
class VisitorPass:
    tenant_id: ObjectId
    key_id: ObjectId
    session_id: ObjectId
    visitor: str
    origin: str

    @property
    def rate_key(self) -> str:
        return f"visitor:{self.tenant_id}:{self.visitor}"

    def token(self) -> str:
        """Return the signed token, good for `VISITOR_TOKEN_SECONDS`."""
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
    def read(cls, token: str) -> VisitorPass | None:
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


class VisitorAuthentication(BaseAuthentication):
    """`Authorization: Bearer <visitor token>`, from the origin it was given to."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, VisitorPass] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        visitor_pass = VisitorPass.read(token.strip()) if scheme.lower() == "bearer" else None
        if visitor_pass is None:
            return None  # perhaps a user's token: the next class looks at it
        if request.headers.get("Origin", "") != visitor_pass.origin:
            raise AuthenticationFailed("This token belongs to another origin.", "wrong_origin")
        request.log_fields["visitor"] = visitor_pass.visitor
        return AnonymousUser(), visitor_pass

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
