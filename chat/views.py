"""Sessions, and the messages sent to them."""

from __future__ import annotations

import secrets
import threading
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import JWTAuthentication
from chat import conversation
from chat.analytics import rollups
from chat.analytics.stored import utc
from chat.conversation import Conversation
from chat.entitlement import EntitledEvents
from chat.erasure import erase_session
from chat.export import FORMATS
from chat.filters import MessageFilter, SessionFilter
from chat.following import BEGINNING, follow, request_cancel, wait_for_end
from chat.keeper import local_turn
from chat.models import ChatSession, Message
from chat.outcome import ReplyFailed, answered
from chat.sending import Attached, asked_before, once_key, retry, send, send_first
from chat.serializers import (
    ChatSessionSerializer,
    EventSerializer,
    ExchangeSerializer,
    FeedbackSerializer,
    MessageSerializer,
    NewMessageSerializer,
    NewSessionSerializer,
    OpenedSessionSerializer,
    RetrySerializer,
    SimpleChatSerializer,
    SimpleReplySerializer,
    gather_overrides,
    message_data,
)
from chat.sse import EventStream, Position, last_position
from chat.turns import Turn
from chat.visitors import VisitorAuthentication, VisitorPass
from config.api.errors import Conflict
from config.api.etags import check_if_match, etag
from config.api.idempotency import idempotent
from tenants import rights
from tenants.access import Access, access_to
from tenants.authentication import ApiKeyAuthentication
from tenants.models.audit import Actor
from tenants.scoping import TenantScoped
from tenants.throttling import show_minute

#: How long a cancelled turn is waited for; its worker looks for cancellations twice a second.
CANCEL_WAIT_SECONDS = 3.0

# Built once: a serializer made for each request copies all its fields.
NEW_MESSAGE = NewMessageSerializer()
NEW_SESSION = NewSessionSerializer()
SIMPLE_CHAT = SimpleChatSerializer()
RETRY = RetrySerializer()
FEEDBACK = FeedbackSerializer()
SESSION = ChatSessionSerializer()

#: How a turn can fail, beyond what any request can.
TURN_STATUSES = {"410", "422", "502"}

EVENT_STREAM = {(200, "text/event-stream"): EventSerializer}


class SessionScoped(TenantScoped):
    """A view below one session: its tenant, the caller's rights and the session come in one read."""

    authentication_classes = [VisitorAuthentication, JWTAuthentication, ApiKeyAuthentication]

    def find_access(self) -> Access:
        self.conversation = self.find_conversation()
        return self.conversation.access

    def find_conversation(self) -> Conversation:
        return conversation.load(self.request, self.kwargs["session_id"])


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
        return tenant_access(self.request, self.body.pop("tenant_id", None))

    @extend_schema(request=NewSessionSerializer, responses={201: OpenedSessionSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        session, token = open_session(request, self.access, self.body)
        data = {**SESSION.to_representation(session), "visitor_token": token}
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
        erase_session(self.conversation.session, Actor.of(request))
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


class TenantSessionsView(TenantScoped, GenericViewSet):
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


class TenantMessagesView(TenantScoped, GenericViewSet):
    """A tenant's messages, newest first; `search` finds words in their text."""

    serializer_class = MessageSerializer
    rights = {"GET": rights.READ_SESSIONS}
    filterset_class = MessageFilter
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    def get_queryset(self):
        return Message.objects.visible_to(self.access)

    def list(self, request: Request, tenant_id: str) -> Response:
        return listed(self, MessageFilter)


class MessageViewSet(SessionScoped, GenericViewSet):
    also_answers = TURN_STATUSES
    serializer_class = MessageSerializer
    rights = {
        "GET": rights.READ_SESSION,
        "POST": rights.SEND_MESSAGES,
        "PUT": rights.SEND_MESSAGES,
    }
    orderings = {"seq": ("seq",), "-seq": ("-seq",)}
    rate_scope = "chat.messages"

    def get_throttles(self):
        # Turns of users and secret keys are limited by the plan, in the update that admits them;
        # visitors share one plan among them and are counted one by one.
        if self.action == "create" and not is_public(self.request):
            return []
        return super().get_throttles()

    def find_conversation(self) -> Conversation:
        if self.action != "create":
            return super().find_conversation()
        return conversation.load(
            self.request,
            self.kwargs["session_id"],
            with_messages=True,
            idempotency=once_key(self.request),
        )

    def get_queryset(self):
        return Message.objects.visible_to(self.access).filter(session=self.conversation.session)

    def list(self, request: Request, session_id: str) -> Response:
        return listed(self, MessageFilter)

    @extend_schema(
        request=NewMessageSerializer,
        responses={(201, "application/json"): ExchangeSerializer, **EVENT_STREAM},
    )
    def create(self, request: Request, session_id: str) -> Response | EventStream:
        """Send a message. With `stream` the answer is an event stream, else both messages."""
        body = NEW_MESSAGE.run_validation(request.data)
        return answer(request, self.access, send(request, self.conversation, body), body["stream"], exchange)

    def retrieve(self, request: Request, session_id: str, message_id: str) -> Response:
        return Response(message_data(self.message()))

    @extend_schema(responses=EVENT_STREAM)
    def stream(self, request: Request, session_id: str, message_id: str) -> EventStream:
        """Read a reply from `Last-Event-ID`, or from its beginning, while it is written or after."""
        position = last_position(request.headers.get("Last-Event-ID"))
        return EventStream(None, followed(self.reply(), self.access, position))

    @extend_schema(request=None, responses={200: MessageSerializer, 202: MessageSerializer})
    def cancel(self, request: Request, session_id: str, message_id: str) -> Response:
        """Stop a reply; what there is of it stays. 202 if its worker has not stopped yet."""
        reply = request_cancel(self.reply()["_id"])
        if turn := local_turn(reply["_id"]):
            turn.cancel()
        reply = wait_for_end(reply, CANCEL_WAIT_SECONDS)
        over = reply["status"] != Message.Status.STREAMING
        return Response(message_data(reply), status=200 if over else 202)

    @extend_schema(request=RetrySerializer, responses={200: MessageSerializer, **EVENT_STREAM})
    def retry(self, request: Request, session_id: str, message_id: str) -> Response | EventStream:
        """Have a reply that failed, was cancelled or interrupted answered again, in its place."""
        body = RETRY.run_validation(request.data)
        turn = retry(self.conversation, self.reply(), stream=body["stream"])
        return answer(
            request, self.access, turn, body["stream"], lambda asked, reply: Response(message_data(reply))
        )

    @extend_schema(request=FeedbackSerializer, responses=MessageSerializer)
    def feedback(self, request: Request, session_id: str, message_id: str) -> Response:
        given = FEEDBACK.run_validation(request.data)
        reply = self.reply()
        rollups.mark(reply["tenant_id"], [utc(reply["created_at"])])
        reply = Message.collection().find_one_and_update(
            {"_id": reply["_id"]},
            {"$set": {"feedback": given, "updated_at": timezone.now()}},
            return_document=True,
        )
        return Response(message_data(reply))

    def message(self) -> dict[str, Any]:
        """The message of the path, if it stands in this session."""
        pk = self.kwargs["message_id"]
        found = conversation.message_of(self.conversation.session, pk)
        if found is None:
            raise NotFound
        return found

    def reply(self) -> dict[str, Any]:
        message = self.message()
        if message["role"] != Message.Role.ASSISTANT:
            raise Conflict("This message is a question. Name its reply.", "not_a_reply")
        return message


class SimpleChatView(SessionScoped, GenericViewSet):
    """One call for simple sites: a message in, a reply out, the session opened on the way."""

    authentication_classes = [VisitorAuthentication, ApiKeyAuthentication]
    also_answers = {"404", *TURN_STATUSES}
    serializer_class = SimpleChatSerializer
    rights = {"POST": rights.SEND_MESSAGES}
    rate_scope = "chat.messages"

    def get_throttles(self):
        return super().get_throttles() if is_public(self.request) else []

    def find_access(self) -> Access:
        self.body = SIMPLE_CHAT.run_validation(self.request.data)
        if isinstance(self.request.auth, VisitorPass) or "session_id" in self.body:
            return super().find_access()
        return self.request.auth

    def find_conversation(self) -> Conversation:
        own = self.request.auth.session_id if isinstance(self.request.auth, VisitorPass) else None
        return conversation.load(
            self.request,
            self.body.get("session_id", own),
            with_messages=True,
            idempotency=once_key(self.request),
        )

    @extend_schema(
        request=SimpleChatSerializer,
        responses={(200, "application/json"): SimpleReplySerializer, **EVENT_STREAM},
    )
    def create(self, request: Request) -> Response | EventStream:
        token = None
        if hasattr(self, "conversation"):
            outcome = send(request, self.conversation, self.body)
        else:
            before = asked_before(request)
            session, token = open_session(request, self.access, {})
            found = Conversation(session, self.access, asked_before=before)
            outcome = send_first(request, found, self.body)

        def simple(asked: dict, reply: dict) -> Response:
            return Response(simple_reply(reply) | ({"visitor_token": token} if token else {}))

        return answer(request, self.access, outcome, self.body["stream"], simple)


def tenant_access(request: Request, tenant_id: Any) -> Access:
    """Return the access to the tenant that a body names, or to that of the key."""
    if isinstance(request.auth, Access) and tenant_id is None:
        return request.auth
    if isinstance(request.auth, VisitorPass):
        raise NotFound
    if tenant_id is None:
        raise ValidationError({"tenant_id": ["Name the tenant that the session belongs to."]}, "required")
    return access_to(request, tenant_id)


def open_session(request: Request, access: Access, body: dict[str, Any]) -> tuple[ChatSession, str | None]:
    """Return a new session and, for a public key, the visitor's token to it."""
    public = access.key is not None and access.key.is_public
    if public:
        # A visitor that could name itself could name somebody else.
        body = {**body, "visitor": "v_" + secrets.token_hex(12)}
    origin = request.headers.get("Origin", "")[:255]
    session = ChatSession.objects.create(
        tenant=access.tenant, user=access.user, origin=origin, **gather_overrides(body)
    )
    request.log_fields["session"] = str(session.pk)
    if not public:
        return session, None
    visitor_pass = VisitorPass(access.tenant.pk, access.key.pk, session.pk, session.visitor, origin)
    return session, visitor_pass.token()


def is_public(request: Request) -> bool:
    """True for callers on a web page: a visitor's token or a public key."""
    auth = request.auth
    return isinstance(auth, VisitorPass) or (isinstance(auth, Access) and auth.key.is_public)


def answer(
    request: Request, access: Access, outcome: Turn | Attached, stream: bool, show
) -> Response | EventStream:
    """Answer with the turn's events, or with `show(question, reply)` once the reply is final.

    A turn that fails before its first event is a problem like any other.
    """
    replayed = isinstance(outcome, Attached)
    if not replayed:
        show_minute(request, outcome.admission.minute)
    if stream:
        if replayed:
            events = followed(outcome.reply, access)
        else:
            events = EntitledEvents(outcome.events(), access, rights.SEND_MESSAGES, outcome.cancel)
        first = next(events)
        if first is not None and first.name == "error":
            events.close()
            raise ReplyFailed(outcome.reply)
        response: Response | EventStream = EventStream(first, events)
    else:
        reply = wait_for_end(outcome.reply, settings.LLM_TOTAL_SECONDS) if replayed else outcome.finish()
        if not answered(reply):
            raise ReplyFailed(reply)
        response = show(outcome.asked, reply)
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def followed(reply: dict, access: Access, position: Position = BEGINNING) -> EntitledEvents:
    """Return the events of a reply that somebody else drives, for as long as `access` lets it be read."""
    over = threading.Event()
    return EntitledEvents(follow(reply, position, over.is_set), access, rights.READ_SESSION, over.set)


def exchange(asked: dict, reply: dict) -> Response:
    location = reverse("chat-message", args=[asked["session_id"], reply["_id"]])
    return Response(
        {"message": message_data(asked), "reply": message_data(reply)},
        status=status.HTTP_201_CREATED,
        headers={"Location": location},
    )


def simple_reply(reply: dict) -> dict[str, Any]:
    data = message_data(reply)
    return {
        "reply": data["content"],
        "session_id": data["session_id"],
        "message_id": data["id"],
        "provider": data["provider"],
        "model": data["model"],
        "usage": data["usage"],
    }


def listed(view: GenericViewSet, filterset: type) -> Response:
    """Return a page of the view's queryset, narrowed by the query's filters. 400 for bad ones."""
    narrowed = filterset(view.request.query_params, view.get_queryset(), request=view.request)
    if not narrowed.is_valid():
        raise ValidationError(narrowed.errors)
    page = view.paginate_queryset(narrowed.qs)
    return view.get_paginated_response(view.get_serializer(page, many=True).data)
