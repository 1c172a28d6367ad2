"""One call for simple sites."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat import conversation
from chat.conversation import Conversation
from chat.serializers import SimpleChatSerializer, SimpleReplySerializer, message_data
from chat.turns.sending import asked_before, once_key, send, send_first
from chat.turns.sse import EventStream
from chat.views.answers import EVENT_STREAM, TURN_STATUSES, answer
from chat.views.scoped import SessionScoped
from chat.views.sessions import open_session, visitor_token
from chat.visitors import VisitorAuthentication
from tenants.access import Access, rights
from tenants.authentication import ApiKeyAuthentication

# Built once: a serializer made for each request copies all its fields.
SIMPLE_CHAT = SimpleChatSerializer()


class SimpleChatView(SessionScoped, GenericViewSet):
    """One call for simple sites: a message in, a reply out, the session opened on the way."""

    authentication_classes = [VisitorAuthentication, ApiKeyAuthentication]
    also_answers = {"404", *TURN_STATUSES}
    serializer_class = SimpleChatSerializer
    rights = {"POST": rights.SEND_MESSAGES}
    rate_scope = "chat.messages"

    def get_throttles(self):
        return super().get_throttles() if self.caller.is_public else []

    def find_access(self) -> Access:
        self.body = SIMPLE_CHAT.run_validation(self.request.data)
        if self.caller.known_access is None or "session_id" in self.body:
            return super().find_access()
        return self.caller.known_access

    def find_conversation(self) -> Conversation:
        return conversation.load(
            self.caller,
            self.body.get("session_id", self.caller.own_session_id),
            with_messages=True,
            idempotency_digest=once_key(self.request),
        )

    @extend_schema(
        request=SimpleChatSerializer,
        responses={(200, "application/json"): SimpleReplySerializer, **EVENT_STREAM},
    )
    def create(self, request: Request) -> Response | EventStream:
        """Send a message. A public key is also given the visitor's token, of a stream as `Visitor-Token`."""
        token = None
        if hasattr(self, "conversation"):
            outcome = send(request, self.conversation, self.body)
        else:
            before = asked_before(request)
            opened = open_session(request, self.caller, self.access, {})
            found = Conversation(self.caller, opened, self.access, existing_question=before)
            session, outcome = send_first(request, found, self.body)
            token = visitor_token(self.access, session)

        def simple(asked: dict, reply: dict) -> Response:
            return Response(simple_reply(reply) | ({"visitor_token": token} if token else {}))

        response = answer(request, self.access, outcome, self.body["stream"], simple)
        if token and self.body["stream"]:
            response["Visitor-Token"] = token
        return response


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
