"""Visitors: people on a client's website, known only by a token that their page keeps.

A public key creates a session and gets the token with it; the site's server gets one for a visitor that it
knows. A token is signed and bound to tenant, key, visitor and origin. It opens that visitor's sessions and no
others, for as long as its identity (chat.visitor_identity) is used now and then and not revoked.
"""

from __future__ import annotations

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

from chat.visitor_identity import VisitorIdentity, identity_of, lookup_identity
from core.api.addresses import client_address, client_network
from core.api.limits import rate_limit_reached
from core.api.middleware import add_log_fields
from core.api.page_origin import page_origin
from core.api.throttling import counted
from tenants.access import Access, TenantCaller, require_active
from tenants.access.callers import lookup_credential
from tenants.authentication import allow_reading, refuse_visitor
from tenants.models import ApiKey
from tenants.models.tenant import tenant_of

_AUDIENCE = "chat-agent-platform/visitor"


class VisitorTokenEnded(AuthenticationFailed):
    default_detail = (
        "This visitor's token has expired or was revoked. Open a session with the site's public key, or get "
        "a token from the site's server."
    )
    default_code = "visitor_token_ended"


@dataclass(frozen=True, slots=True)
class VisitorToken:
    """What a visitor's token says. `session_id` is the session that it was given with, if any."""

    identity_id: ObjectId
    tenant_id: ObjectId
    key_id: ObjectId
    session_id: ObjectId | None
    visitor: str
    origin: str

    @classmethod
    def give(
        cls, tenant_id: ObjectId, key_id: ObjectId, visitor: str, origin: str, session_id: ObjectId | None
    ) -> VisitorToken:
        """Return a token for the visitor's identity, which is created or used by this."""
        identity_id = VisitorIdentity.objects.keep(tenant_id, visitor, key_id, origin)
        return cls(identity_id, tenant_id, key_id, session_id, visitor, origin)

    def encode(self) -> str:
        """Return the signed token. It has no end of its own: that is its identity's."""
        claims = {
            "aud": _AUDIENCE,
            "jti": str(self.identity_id),
            "tenant": str(self.tenant_id),
            "key": str(self.key_id),
            "sid": str(self.session_id or ""),
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
                options={"require": ["jti", "aud"]},
            )
            return cls(
                ObjectId(claims["jti"]),
                ObjectId(claims["tenant"]),
                ObjectId(claims["key"]),
                ObjectId(claims["sid"]) if claims["sid"] else None,
                claims["visitor"],
                claims["origin"],
            )
        except (jwt.PyJWTError, KeyError, InvalidId, TypeError):
            return None


@dataclass(frozen=True)
class VisitorCaller(TenantCaller):
    """A visitor in its own sessions. The credential is the key by which the token was given."""

    token: VisitorToken
    address: str = ""
    network: str = ""

    @property
    def rate_key(self) -> str:
        return f"visitor:{self.token.tenant_id}:{self.token.visitor}"

    @property
    def rate_scope(self) -> str:
        return "visitor"

    @property
    def budget_key(self) -> str:
        return f"tenant:{self.token.tenant_id}"

    @property
    def is_public(self) -> bool:
        return True

    @property
    def own_session_id(self) -> ObjectId | None:
        return self.token.session_id

    def access_to(self, tenant_id: ObjectId) -> Access | None:
        return self.own_access() if tenant_id == self.token.tenant_id else None

    def own_access(self) -> Access:
        """Return the access to the visitor's tenant, in one round trip. Raises as `access_from` does."""
        stages = [{"$match": {"_id": self.token.identity_id}}, *self.lookup_credential()]
        for document in VisitorIdentity.collection().aggregate(stages):
            return self.access_from(document)
        raise VisitorTokenEnded

    def reach(self, session_id: ObjectId) -> dict[str, Any]:
        return {"_id": session_id, "tenant_id": self.token.tenant_id, "visitor": self.token.visitor}

    def lookup_credential(self) -> list[dict[str, Any]]:
        key = lookup_credential(ApiKey, {"_id": self.token.key_id})
        return [*key, *lookup_identity(self.token.identity_id)]

    def access_from(self, document: Mapping[str, Any]) -> Access:
        tenant = tenant_of(document)
        require_active(tenant)
        key = ApiKey.from_document(document["credential"])
        key.tenant = tenant
        if not key.is_usable:
            raise AuthenticationFailed("The API key is not valid.", "api_key_invalid")
        identity = identity_of(document)
        if identity is None:
            raise VisitorTokenEnded
        refuse_visitor(key, self.address, self.token.origin)
        identity.record_use()
        return Access(
            tenant,
            key=key,
            visitor=self.token.visitor,
            identity_id=identity.pk,
            origin=self.token.origin,
            address=self.address,
        )

    def count_opening(self, request: Request) -> None:
        """Count a session that the visitor opens like one that its network opens with the public key.

        Otherwise each visitor of a network could open as many. Raises LimitReached.
        """
        counter = f"key:{self.token.key_id}:{self.network}"
        usage = counted(request, "chat.sessions", lambda group, request: counter)
        if usage and not usage.has_room_for(0):
            raise rate_limit_reached(usage, scope="address")


class VisitorAuthentication(BaseAuthentication):
    """`Authorization: Bearer <visitor token>`, from the origin it was given to."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, VisitorCaller] | None:
        scheme, _, credentials = get_authorization_header(request).decode("latin-1").partition(" ")
        token = VisitorToken.decode(credentials.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            return None  # perhaps a user's access token: the next class reads it
        if page_origin(request) != token.origin:
            raise AuthenticationFailed("This token belongs to another origin.", "wrong_origin")
        allow_reading(request)
        add_log_fields(request, visitor=token.visitor)
        return AnonymousUser(), VisitorCaller(token, client_address(request), client_network(request))

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
