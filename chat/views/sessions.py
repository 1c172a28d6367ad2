"""Sessions: opened, read, changed, erased, taken away, listed."""

from __future__ import annotations

import secrets
from typing import Any

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat.erasure import erase_session
from chat.export import FORMATS
from chat.filters import SessionFilter
from chat.models import ChatSession
from chat.serializers import (
    ChatSessionSerializer,
    NewSessionSerializer,
    OpenedSessionSerializer,
    gather_overrides,
)
from chat.views.scoped import SessionScoped, listed
from chat.visitors import VisitorToken
from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from core.api.middleware import add_log_fields
from core.errors import NotFound
from tenants.access import Access, TenantCaller, rights
from tenants.access.views import TenantScopedView

# Built once: a serializer made for each request copies all its fields.
NEW_SESSION = NewSessionSerializer()
SESSION = ChatSessionSerializer()


class SessionViewSet(SessionScoped, GenericViewSet):
    also_answers = {"404"}  # the tenant that a body names
    serializer_class = ChatSessionSerializer
    rights = {
        "GET": rights.READ_SESSION,
        "POST": rights.OPEN_SESSIONS,
        "PUT": rights.WRITE_SESSIONS,
        "DELETE": rights.WRITE_SESSIONS,
    }

    def find_access(self) -> Access:
        if "session_id" in self.kwargs:
            return super().find_access()
        self.body = NEW_SESSION.run_validation(self.request.data)
        tenant_id = self.body.pop("tenant_id", None)
        if tenant_id is not None:
            return self.access_to(tenant_id)
        if self.caller.own_session_id is not None:
            raise NotFound
        if self.caller.known_access is None:
            raise ValidationError({"tenant_id": ["Name the tenant that the session belongs to."]}, "required")
        return self.caller.known_access

    @extend_schema(request=NewSessionSerializer, responses={201: OpenedSessionSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        session = open_session(request, self.caller, self.access, self.body)
        data = {**SESSION.to_representation(session), "visitor_token": visitor_token(self.access, session)}
        location = reverse("chat-session", args=[session.pk])
        return Response(data, status=201, headers={"Location": location, "ETag": etag(session)})

    def retrieve(self, request: Request, session_id: str) -> Response:
        session = self.conversation.session
        return Response(SESSION.to_representation(session), headers={"ETag": etag(session)})

    def update(self, request: Request, session_id: str) -> Response:
        session = self.conversation.session
        check_if_match(request, session)
        changes = ChatSessionSerializer(session, data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        session = changes.save()
        return Response(SESSION.to_representation(session), headers={"ETag": etag(session)})

    partial_update = update

    def destroy(self, request: Request, session_id: str) -> Response:
        check_if_match(request, self.conversation.session)
        erase_session(self.conversation.session, actor_of(request))
        return Response(status=204)

    @extend_schema(
        parameters=[OpenApiParameter("format", enum=list(FORMATS), description="json by default")],
        responses={(200, "application/json"): OpenApiTypes.OBJECT, (200, "text/markdown"): OpenApiTypes.STR},
    )
    def export(self, request: Request, session_id: str) -> StreamingHttpResponse:
        wanted = request.query_params.get("format", "json")
        if wanted not in FORMATS:
            raise ValidationError({"format": [f"Choose one of: {', '.join(FORMATS)}."]})
        write, content_type = FORMATS[wanted]
        session = self.conversation.session
        name = f"session-{session.pk}.{'md' if wanted == 'markdown' else wanted}"
        return StreamingHttpResponse(
            write(session),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


class TenantSessionsView(TenantScopedView, GenericViewSet):
    """A tenant's sessions, most recently active first."""

    serializer_class = ChatSessionSerializer
    rights = {"GET": rights.READ_SESSIONS}
    filterset_class = SessionFilter
    orderings = {
        "-last_message_at": ("-last_message_at", "-id"),
        "-created_at": ("-created_at", "-id"),
        "created_at": ("created_at", "id"),
    }

    def get_queryset(self):
        return ChatSession.objects.visible_to(self.access)

    def list(self, request: Request, tenant_id: str) -> Response:
        return listed(self, SessionFilter)


def open_session(request: Request, caller: TenantCaller, access: Access, body: dict[str, Any]) -> ChatSession:
    if caller.is_shared:
        # A visitor that could name itself could name somebody else.
        body = {**body, "visitor": "v_" + secrets.token_hex(12)}
    origin = request.headers.get("Origin", "")[:255]
    session = ChatSession.objects.create(
        tenant=access.tenant, user=access.user, origin=origin, **gather_overrides(body)
    )
    add_log_fields(request, session=str(session.pk))
    return session


def visitor_token(access: Access, session: ChatSession) -> str | None:
    """Return the token that opens the session again, for a public key; None for all other callers."""
    if access.key is None or not access.key.is_public:
        return None
    token = VisitorToken(access.tenant.pk, access.key.pk, session.pk, session.visitor, session.origin)
    return token.encode()
