"""`POST /api/chat`: a whole conversation through one endpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from chat.conversation import Conversation
from chat.serializers import SimpleChatSerializer, SimpleReplySerializer, message_data
from chat.turns import Question, Reply, existing_question, send, send_first
from chat.views.base import SessionScopedView
from chat.views.event_stream import EventStream
from chat.views.new_message import idempotency_digest, new_message
from chat.views.responses import EVENT_STREAM, TURN_STATUSES, turn_response
from chat.views.sessions import open_session, visitor_token
from chat.visitors import VisitorAuthentication, VisitorCaller
from core.errors import NotFound
from tenants.access import Access, rights
from tenants.authentication import ApiKeyAuthentication

# Built once: a serializer made for each request copies all its fields.
SIMPLE_CHAT = SimpleChatSerializer()


class SimpleChatView(SessionScopedView):
    """One call for simple sites: a message in, a reply out, the session opened on the way."""

    authentication_classes = [VisitorAuthentication, ApiKeyAuthentication]
    also_answers = {"404", *TURN_STATUSES}
    rights = {"POST": rights.SEND_MESSAGES}
    rate_scope = "chat.messages"

    def get_throttles(self) -> list[BaseThrottle]:
        return super().get_throttles() if self.caller.is_public else []

    @extend_schema(
        request=SimpleChatSerializer,
        responses={(200, "application/json"): SimpleReplySerializer, **EVENT_STREAM},
    )
    def post(self, request: Request) -> Response | EventStream:
        """Send a message. A public key is also given the visitor's token, of a stream as `Visitor-Token`."""
        # Validated first: it may name the session.
        body = SIMPLE_CHAT.run_validation(request.data)
        if session_id := body.get("session_id", self.caller.own_session_id):
            return self._send(request, session_id, body)
        access = self.caller.own_access()
        if access is None:
            raise NotFound
        return self._send_first(request, self.authorize(access), body)

    def _send(self, request: Request, session_id: object, body: dict[str, Any]) -> Response | EventStream:
        message = new_message(request, body, idempotency_digest(request))
        conversation = self.get_conversation(
            session_id, with_messages=True, idempotency_digest=message.idempotency_digest
        )
        turn = send(conversation, message)
        return turn_response(request, conversation.access, turn, render_reply, stream=message.stream)

    def _send_first(self, request: Request, access: Access, body: dict[str, Any]) -> Response | EventStream:
        message = new_message(request, body, idempotency_digest(request))
        question = existing_question(message.idempotency_digest)
        if isinstance(self.caller, VisitorCaller):
            self.caller.count_opening(request)
        opened = open_session(request, self.caller, access, {})
        conversation = Conversation(self.caller, opened, access, existing_question=question, is_new=True)
        session, turn = send_first(conversation, message)
        token = visitor_token(access, session)
        render = partial(render_reply, visitor_token=token)
        response = turn_response(request, access, turn, render, stream=message.stream)
        if token and message.stream:
            response["Visitor-Token"] = token
        return response


def render_reply(
    question: Question, reply: Reply, access: Access, visitor_token: str | None = None
) -> Response:
    data = message_data(reply, access)
    return Response(
        {
            "reply": data["content"],
            "session_id": data["session_id"],
            "message_id": data["id"],
            "provider": data["provider"],
            "model": data["model"],
            "usage": data["usage"],
            **({"visitor_token": visitor_token} if visitor_token else {}),
        }
    )
