"""Messages: sent, read, followed, stopped, tried again, rated, listed."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat import conversation
from chat.analytics import rollups
from chat.conversation import Conversation
from chat.filters import MessageFilter
from chat.models import Message
from chat.serializers import (
    ExchangeSerializer,
    FeedbackSerializer,
    MessageSerializer,
    NewMessageSerializer,
    RetrySerializer,
    message_data,
)
from chat.turns.following import request_cancel, wait_for_end
from chat.turns.heartbeat import local_turn
from chat.turns.sending import once_key, retry, send
from chat.turns.sse import EventStream, last_position
from chat.views.answers import EVENT_STREAM, TURN_STATUSES, answer, followed
from chat.views.scoped import SessionScoped, listed
from core.errors import Conflict
from core.time import utc
from tenants.access import rights
from tenants.access.views import TenantScopedView

#: How long a cancelled turn is waited for; its worker looks for cancellations twice a second.
CANCEL_WAIT_SECONDS = 3.0

# Built once: a serializer made for each request copies all its fields.
NEW_MESSAGE = NewMessageSerializer()
RETRY = RetrySerializer()
FEEDBACK = FeedbackSerializer()


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
        if self.action == "create" and not self.caller.is_public:
            return []
        return super().get_throttles()

    def find_conversation(self) -> Conversation:
        if self.action != "create":
            return super().find_conversation()
        return conversation.load(
            self.caller,
            self.kwargs["session_id"],
            with_messages=True,
            idempotency_digest=once_key(self.request),
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
        found = conversation.find_message(self.conversation.session, pk)
        if found is None:
            raise NotFound
        return found

    def reply(self) -> dict[str, Any]:
        message = self.message()
        if message["role"] != Message.Role.ASSISTANT:
            raise Conflict("This message is a question. Name its reply.", "not_a_reply")
        return message


class TenantMessagesView(TenantScopedView, GenericViewSet):
    """A tenant's messages, newest first; `search` finds words in their text."""

    serializer_class = MessageSerializer
    rights = {"GET": rights.READ_SESSIONS}
    filterset_class = MessageFilter
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    def get_queryset(self):
        return Message.objects.visible_to(self.access)

    def list(self, request: Request, tenant_id: str) -> Response:
        return listed(self, MessageFilter)


def exchange(asked: dict, reply: dict) -> Response:
    location = reverse("chat-message", args=[asked["session_id"], reply["_id"]])
    return Response(
        {"message": message_data(asked), "reply": message_data(reply)},
        status=status.HTTP_201_CREATED,
        headers={"Location": location},
    )
