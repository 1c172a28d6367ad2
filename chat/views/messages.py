"""Messages: send, read, stream, cancel, retry, rate, list."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import GenericViewSet

from chat import conversation as conversations
from chat.analytics import rollups
from chat.conversation import Conversation
from chat.filters import MessageFilter, SessionMessageFilter
from chat.models import Message
from chat.serializers import (
    ExchangeSerializer,
    FeedbackSerializer,
    MessageSerializer,
    NewMessageSerializer,
    RetrySerializer,
    message_data,
)
from chat.turns import (
    Question,
    Reply,
    acquire_permit,
    last_position,
    local_turn,
    request_cancel,
    retry,
    send,
    store_feedback,
    wait_for_end,
)
from chat.views.base import SessionScopedView, paginated
from chat.views.event_stream import EventStream
from chat.views.new_message import idempotency_digest, new_message
from chat.views.responses import EVENT_STREAM, TURN_STATUSES, replay, turn_response
from chat.visitor_policy import require_visitor_fields
from core.errors import Conflict
from tenants.access import Access, rights
from tenants.access.views import TenantScopedView

#: How long a cancelled turn is waited for; its worker looks for cancellations twice a second.
CANCEL_WAIT_SECONDS = 3.0

# Built once: a serializer made for each request copies all its fields.
NEW_MESSAGE = NewMessageSerializer()
RETRY = RetrySerializer()
FEEDBACK = FeedbackSerializer()


class MessageViewSet(SessionScopedView, GenericViewSet[Message]):
    """Messages of a session: questions and replies."""

    also_answers = TURN_STATUSES
    serializer_class = MessageSerializer
    rights = {
        "GET": rights.READ_SESSION,
        "POST": rights.SEND_MESSAGES,
        "PUT": rights.SEND_MESSAGES,
    }
    filterset_class = SessionMessageFilter
    orderings = {"seq": ("seq",), "-seq": ("-seq",)}
    rate_scope = "chat.messages"
    lookup_url_kwarg = "message_id"

    def get_throttles(self) -> list[BaseThrottle]:
        # Turns of users and secret keys are limited by the plan, in the update that admits them;
        # visitors share one plan and are counted one by one.
        if self.action == "create" and not self.caller.is_public:
            return []
        return super().get_throttles()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "access": self.access}

    def list(self, request: Request, session_id: str) -> Response:
        """The oldest messages first; `ordering=-seq` begins with the newest."""
        conversation = self.get_conversation()
        messages = Message.objects.visible_to(conversation.access).filter(session=conversation.session)
        return paginated(self, messages, SessionMessageFilter)

    @extend_schema(
        request=NewMessageSerializer,
        responses={(201, "application/json"): ExchangeSerializer, **EVENT_STREAM},
    )
    def create(self, request: Request, session_id: str) -> Response | EventStream:
        """Send a message. With `stream` the answer is an event stream, else both messages."""
        digest = idempotency_digest(request)
        conversation = self.get_conversation(with_messages=True, idempotency_digest=digest)
        body = NEW_MESSAGE.run_validation(request.data)
        require_visitor_fields(conversation.access, request.data)
        message = new_message(request, body, digest)
        turn = send(conversation, message)
        return turn_response(request, conversation.access, turn, render_exchange, stream=message.stream)

    def retrieve(self, request: Request, session_id: str, message_id: str) -> Response:
        conversation = self.get_conversation()
        return Response(message_data(self.get_message(conversation), conversation.access))

    @extend_schema(responses={**EVENT_STREAM, 204: None})
    @action(detail=True)
    def stream(self, request: Request, session_id: str, message_id: str) -> Response | EventStream:
        """Read a reply from `Last-Event-ID`, or from its beginning, while it is written or after.

        204 after its last event, at which an `EventSource` stops to reconnect.
        """
        conversation = self.get_conversation()
        reply = self.get_reply(conversation)
        position = last_position(request.headers.get("Last-Event-ID"))
        if position.is_end_of(reply):
            return Response(status=204)
        events = replay(reply, conversation.access, position)
        events.begin_with_ping()
        return EventStream(events)

    @extend_schema(request=None, responses={200: MessageSerializer, 202: MessageSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, session_id: str, message_id: str) -> Response:
        """Stop a reply; what there is of it stays. 202 if its worker has not stopped yet."""
        conversation = self.get_conversation()
        reply = request_cancel(self.get_reply(conversation).id)
        if reply is None:
            raise NotFound
        if turn := local_turn(reply.id):
            turn.cancel()
        with closing(acquire_permit(conversation.access)):
            reply = wait_for_end(reply, CANCEL_WAIT_SECONDS)
        return Response(message_data(reply, conversation.access), status=202 if reply.is_running else 200)

    @extend_schema(request=RetrySerializer, responses={200: MessageSerializer, **EVENT_STREAM})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, session_id: str, message_id: str) -> Response | EventStream:
        """Have a reply that failed, was cancelled or interrupted answered again, in its place."""
        conversation = self.get_conversation()
        body = RETRY.run_validation(request.data)
        turn = retry(conversation, self.get_reply(conversation), stream=body["stream"])
        return turn_response(request, conversation.access, turn, render_reply, stream=body["stream"])

    @extend_schema(request=FeedbackSerializer, responses=MessageSerializer)
    @action(detail=True, methods=["put"])
    def feedback(self, request: Request, session_id: str, message_id: str) -> Response:
        conversation = self.get_conversation()
        feedback = FEEDBACK.run_validation(request.data)
        reply = self.get_reply(conversation)
        rollups.invalidate(reply.tenant_id, [reply.created_at])
        rated = store_feedback(reply.id, feedback)
        if rated is None:
            raise NotFound
        return Response(message_data(rated, conversation.access))

    def get_message(self, conversation: Conversation) -> Question | Reply:
        """Return the message of the path. Raises NotFound if it is not in this conversation."""
        message = conversations.find_message(conversation.session, self.kwargs["message_id"])
        if message is None:
            raise NotFound
        return message

    def get_reply(self, conversation: Conversation) -> Reply:
        """`get_message` for a reply. Raises Conflict for a question."""
        message = self.get_message(conversation)
        if not isinstance(message, Reply):
            raise Conflict("This message is a question. Name its reply.", "not_a_reply")
        return message


class TenantMessageViewSet(TenantScopedView, GenericViewSet[Message]):
    """A tenant's messages, newest first; `search` finds words in their text."""

    serializer_class = MessageSerializer
    rights = {"GET": rights.READ_SESSIONS}
    filterset_class = MessageFilter
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    def list(self, request: Request, tenant_id: str) -> Response:
        return paginated(self, Message.objects.visible_to(self.get_access()), MessageFilter)


def render_exchange(question: Question, reply: Reply, access: Access) -> Response:
    location = reverse("chat-message", args=[question.session_id, reply.id])
    return Response(
        {"message": message_data(question, access), "reply": message_data(reply, access)},
        status=status.HTTP_201_CREATED,
        headers={"Location": location},
    )


def render_reply(question: Question, reply: Reply, access: Access) -> Response:
    return Response(message_data(reply, access))
