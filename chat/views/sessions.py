"""Sessions: open, read, change, erase, export, list."""

from __future__ import annotations

import secrets
from typing import Any

from bson import ObjectId
from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat.erasure import erase_session
from chat.export import FORMATS
from chat.filters import SessionFilter
from chat.kept_data import recounting, session_bytes
from chat.models import ChatSession
from chat.serializers import (
    SESSION,
    ChatSessionSerializer,
    NewSessionSerializer,
    OpenedSessionSerializer,
    gather_overrides,
    session_data,
)
from chat.turns import grant
from chat.views.base import SessionScopedView, paginated
from chat.views.event_stream import RevocableChunks
from chat.visitor_identity import VisitorIdentity
from chat.visitor_policy import require_visitor_fields
from chat.visitors import VisitorCaller, VisitorToken, VisitorTokenEnded
from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from core.api.middleware import add_log_fields
from core.api.page_origin import page_origin
from core.errors import NotFound
from tenants.access import Access, TenantCaller, rights
from tenants.access.views import TenantScopedView
from tenants.models import Usage

# Built once: a serializer made for each request copies all its fields.
NEW_SESSION = NewSessionSerializer()


class SessionViewSet(SessionScopedView, GenericViewSet[ChatSession]):
    """Chat sessions."""

    also_answers = {"404"}  # the tenant that a body names
    serializer_class = ChatSessionSerializer
    rights = {
        "GET": rights.READ_SESSION,
        "POST": rights.OPEN_SESSIONS,
        "PUT": rights.WRITE_SESSIONS,
        "DELETE": rights.WRITE_SESSIONS,
    }
    lookup_url_kwarg = "session_id"

    @property
    def rate_scope(self) -> str:
        return "chat.sessions" if self.action == "create" and self.caller.is_shared else "default"

    @extend_schema(request=NewSessionSerializer, responses={201: OpenedSessionSerializer})
    def create(self, request: Request) -> Response:
        # Validated first: it may name the tenant.
        body = NEW_SESSION.run_validation(request.data)
        access = self.authorize(self._access_to_named(body.pop("tenant_id", None)))
        require_visitor_fields(access, request.data)
        return self._open(request, access, body)

    @idempotent
    def _open(self, request: Request, access: Access, body: dict[str, Any]) -> Response:
        if isinstance(self.caller, VisitorCaller):
            self.caller.count_opening(request)
        kept = session_bytes(body)
        recounting(access.tenant.pk, lambda: Usage.objects.keep_session(access.tenant, kept))
        session = open_session(request, self.caller, access, body)
        # Read after the insert: a deletion of the tenant that comes later finds the session.
        if access.tenant.was_deleted():
            session.delete_if_empty()
            raise NotFound
        data = {**session_data(session, access), "visitor_token": visitor_token(access, session)}
        location = reverse("chat-session", args=[session.pk])
        return Response(data, status=201, headers={"Location": location, "ETag": etag(session)})

    def retrieve(self, request: Request, session_id: str) -> Response:
        conversation = self.get_conversation()
        data = session_data(conversation.session, conversation.access)
        return Response(data, headers={"ETag": etag(conversation.session)})

    def update(self, request: Request, session_id: str) -> Response:
        session = self.get_conversation().session
        check_if_match(request, session)
        changes = ChatSessionSerializer(session, data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        session = changes.save()
        return Response(SESSION.to_representation(session), headers={"ETag": etag(session)})

    partial_update = update

    def destroy(self, request: Request, session_id: str) -> Response:
        session = self.get_conversation().session
        check_if_match(request, session)
        erase_session(session, actor_of(request))
        return Response(status=204)

    @extend_schema(
        parameters=[OpenApiParameter("format", enum=list(FORMATS), description="json by default")],
        responses={(200, "application/json"): OpenApiTypes.OBJECT, (200, "text/markdown"): OpenApiTypes.STR},
    )
    @action(detail=True)
    def export(self, request: Request, session_id: str) -> StreamingHttpResponse:
        conversation = self.get_conversation()
        session = conversation.session
        wanted = request.query_params.get("format", "json")
        if wanted not in FORMATS:
            raise ValidationError({"format": [f"Choose one of: {', '.join(FORMATS)}."]})
        write, content_type = FORMATS[wanted]
        name = f"session-{session.pk}.{'md' if wanted == 'markdown' else wanted}"
        granted = grant(conversation.access, rights.READ_SESSION, lambda: None)
        return StreamingHttpResponse(
            RevocableChunks(write(session, conversation.access), granted),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def _access_to_named(self, tenant_id: ObjectId | None) -> Access:
        """Return the access to the tenant that the body names, else to that of the key or visitor."""
        if tenant_id is not None:
            return self.access_to(tenant_id)
        access = self.caller.own_access()
        if access is None:
            raise ValidationError({"tenant_id": ["Name the tenant that the session belongs to."]}, "required")
        return access


class TenantSessionViewSet(TenantScopedView, GenericViewSet[ChatSession]):
    """A tenant's sessions, most recently active first."""

    serializer_class = ChatSessionSerializer
    rights = {"GET": rights.READ_SESSIONS}
    filterset_class = SessionFilter
    orderings = {
        "-last_message_at": ("-last_message_at", "-id"),
        "-created_at": ("-created_at", "-id"),
        "created_at": ("created_at", "id"),
    }

    def list(self, request: Request, tenant_id: str) -> Response:
        return paginated(self, ChatSession.objects.visible_to(self.get_access()), SessionFilter)


def open_session(request: Request, caller: TenantCaller, access: Access, body: dict[str, Any]) -> ChatSession:
    """Create a session: of a new visitor with a public key, of its own with a visitor's token."""
    if caller.is_shared:
        body = {**body, "visitor": "v_" + secrets.token_hex(12)}
    elif access.visitor is not None:
        body = {**body, "visitor": access.visitor}
    origin = page_origin(request)[:255]
    session = ChatSession.objects.create(
        tenant=access.tenant, user=access.user, origin=origin, **gather_overrides(body)
    )
    # Read after the insert: an erasure of the visitor that comes later finds the session.
    if access.identity_id and not VisitorIdentity.objects.live().filter(pk=access.identity_id).exists():
        session.delete_if_empty()
        raise VisitorTokenEnded
    add_log_fields(request, session=str(session.pk))
    return session


def visitor_token(access: Access, session: ChatSession) -> str | None:
    """Return the token of the visitor for whom a public key opened the session; None for others."""
    if access.key is None or not access.key.is_public:
        return None
    token = VisitorToken.give(access.tenant.pk, access.key.pk, session.visitor, access.origin, session.pk)
    return token.encode()
