"""Visitors: tokens from the site's server, their end, and the sessions of one visitor."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat.filters import SessionFilter
from chat.kept_data import recounting
from chat.models import ChatSession
from chat.serializers import ChatSessionSerializer, VisitorField, session_data
from chat.views.base import filtered
from chat.visitor_identity import IDENTITY_BYTES, VisitorIdentity, lifetime
from chat.visitors import VisitorAuthentication, VisitorToken
from core.api.actors import actor_of
from core.api.serializers import StrictSerializer, validated
from core.audit.models import AuditEvent
from core.errors import NotFound
from core.origins import MAX_ORIGIN_LENGTH, normalised_origin
from core.text import normalised_identifier
from tenants.access import Access, rights
from tenants.access.views import TenantScopedView
from tenants.models import ApiKey, Usage


class NewVisitorTokenSerializer(StrictSerializer):
    """`visitor` is the site's own id of the person; `origin` is that of the pages that use the token."""

    visitor = VisitorField()
    origin = serializers.CharField(
        max_length=MAX_ORIGIN_LENGTH,
        required=False,
        default="",
        allow_blank=True,
        help_text="One of the tenant's allowed origins. Without it the token is for apps that are no pages.",
    )


class GivenVisitorTokenSerializer(serializers.Serializer[Any]):
    visitor = serializers.CharField()
    visitor_token = serializers.CharField()
    expires_at = serializers.DateTimeField(help_text="Each use of the token moves it.")


class VisitorTokensView(TenantScopedView):
    """Tokens for visitors whom the site's server knows."""

    rights = {"POST": rights.GIVE_VISITOR_TOKENS}

    @extend_schema(
        operation_id="chat_visitor_token",
        summary="Give a visitor a token",
        description=(
            "For a site's server, with its secret key: the token opens all sessions of this visitor and new "
            "ones, from the pages of `origin`, with the scopes of that key and until the key ends."
        ),
        tags=["chat"],
        request=NewVisitorTokenSerializer,
        responses={201: GivenVisitorTokenSerializer},
    )
    def post(self, request: Request, tenant_id: str) -> Response:
        access = self.get_access()
        key = _key_that_vouches(access)
        fields = validated(NewVisitorTokenSerializer(data=request.data))
        visitor, origin = fields["visitor"], normalised_origin(fields["origin"])
        if not key.allows_visitor("", origin):
            sentence = "This is none of the tenant's allowed_origins. Add it there, or name one of them."
            raise serializers.ValidationError({"origin": [sentence]}, "invalid")
        _count_new(access, visitor, key, origin)
        token = VisitorToken.give(access.tenant.pk, key.pk, visitor, origin, None)
        given = {
            "visitor": visitor,
            "visitor_token": token.encode(),
            "expires_at": timezone.now() + lifetime(),
        }
        return Response(GivenVisitorTokenSerializer(given).data, status=201)


class VisitorTokensOfView(TenantScopedView):
    records_changes = True
    rights = {"DELETE": rights.WRITE_SESSIONS}

    @extend_schema(
        operation_id="chat_visitor_tokens_revoke",
        summary="Revoke a visitor's tokens",
        description="All of them, from the next request on. The visitor's conversations stay.",
        tags=["chat"],
        responses={204: None},
    )
    def delete(self, request: Request, tenant_id: str, visitor_id: str) -> Response:
        tenant = self.get_tenant()
        visitor = normalised_identifier(visitor_id)
        count, _ = VisitorIdentity.objects.of_visitor(tenant.pk, visitor).delete()
        if not count:
            raise NotFound
        AuditEvent.objects.record(actor_of(request), "visitor.tokens_revoked", tenant, tenant_id=tenant.pk)
        return Response(status=204)


class VisitorScopedView(TenantScopedView):
    """A view for the visitor whose token it is."""

    authentication_classes = [VisitorAuthentication]

    def get_own_access(self) -> Access:
        """Return the visitor's access. Raises as `authorize` does, and VisitorTokenEnded."""
        access = self.caller.own_access()
        if access is None:
            raise NotFound
        return self.authorize(access)


class OwnSessionsView(VisitorScopedView, GenericViewSet[ChatSession]):
    """The visitor's own sessions, most recently active first."""

    serializer_class = ChatSessionSerializer
    rights = {"GET": rights.OWN_IDENTITY}
    filterset_class = SessionFilter
    orderings = {"-last_message_at": ("-last_message_at", "-id")}

    def list(self, request: Request) -> Response:
        access = self.get_own_access()
        sessions = filtered(self, ChatSession.objects.visible_to(access), SessionFilter)
        page = self.paginate_queryset(sessions) or []
        return self.get_paginated_response([session_data(session, access) for session in page])


class OwnIdentityView(VisitorScopedView):
    rights = {"DELETE": rights.OWN_IDENTITY}

    @extend_schema(
        operation_id="chat_visitor_sign_out",
        summary="End the visitor's own token",
        description="For a page whose visitor signs out. The conversations stay.",
        tags=["chat"],
        responses={204: None},
    )
    def delete(self, request: Request) -> Response:
        access = self.get_own_access()
        VisitorIdentity.objects.filter(pk=access.identity_id).delete()
        return Response(status=204)


def _key_that_vouches(access: Access) -> ApiKey:
    """Return the secret key of the access. Raises PermissionDenied without the scopes that a visitor uses."""
    needed = (rights.READ_SESSION, rights.SEND_MESSAGES)
    if access.key is None or not all(access.may(right) for right in needed):
        raise PermissionDenied(
            "This needs a secret key with the scopes sessions:read, sessions:write and messages:send."
        )
    return access.key


def _count_new(access: Access, visitor: str, key: ApiKey, origin: str) -> None:
    """Count the bytes of an identity that is not kept yet. Raises KeptDataLimit."""
    tenant = access.tenant
    kept = VisitorIdentity.objects.of_visitor(tenant.pk, visitor).filter(api_key=key.pk, origin=origin)
    if not kept.exists():
        recounting(tenant.pk, lambda: Usage.objects.keep(tenant, IDENTITY_BYTES))
