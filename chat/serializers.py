"""Sessions and messages as clients see them, and the bodies of requests."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rest_framework import serializers

from chat.models import MAX_VISITOR_LENGTH, ChatSession, Message
from chat.turns import Question, Reply
from chat.visitor_policy import for_visitor
from core.api.serializers import DocumentSerializer, ObjectIdStringField, StrictSerializer
from core.text import normalised_identifier
from llm.route import MAX_TARGET_LENGTH
from llm.serializers import RouteField
from tenants.access import Access
from tenants.models.tenant import MAX_TOKENS

METADATA_BYTES = 16 * 1024


class MetadataField(serializers.DictField):
    """A JSON object of the client, stored and returned unchanged, at most 16 KiB."""

    default_error_messages = {"too_large": "At most {limit} bytes of JSON are stored."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value = super().to_internal_value(data)
        if len(json.dumps(value, ensure_ascii=False).encode()) > METADATA_BYTES:
            self.fail("too_large", limit=METADATA_BYTES)
        return value


class OverridesMixin(serializers.Serializer[Any]):
    """The settings of a tenant that a session can override."""

    system_prompt = serializers.CharField(
        max_length=20_000, allow_blank=True, allow_null=True, required=False
    )
    route = RouteField()
    temperature = serializers.FloatField(min_value=0, max_value=2, allow_null=True, required=False)
    max_tokens = serializers.IntegerField(min_value=1, max_value=MAX_TOKENS, allow_null=True, required=False)


OVERRIDES = ("system_prompt", "route", "temperature", "max_tokens")


class ChatSessionSerializer(DocumentSerializer, OverridesMixin):
    """A session. Settings are null where the tenant's apply."""

    tenant_id = ObjectIdStringField(read_only=True)
    user_id = ObjectIdStringField(read_only=True, allow_null=True)
    metadata = MetadataField(required=False)

    class Meta:
        model = ChatSession
        fields: tuple[str, ...] = (
            "id",
            "tenant_id",
            "user_id",
            "visitor",
            "title",
            "status",
            *OVERRIDES,
            "metadata",
            "message_count",
            "last_message_at",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("visitor", "message_count", "last_message_at", "created_at", "updated_at")

    def to_representation(self, session: ChatSession) -> dict[str, Any]:
        for name in OVERRIDES:
            setattr(session, name, session.overrides.get(name))
        return super().to_representation(session)

    def update(self, instance: ChatSession, validated_data: dict[str, Any]) -> ChatSession:
        instance.update_by(lambda: gather_overrides(validated_data, instance))
        return instance


SESSION = ChatSessionSerializer()


def session_data(session: ChatSession, access: Access) -> dict[str, Any]:
    """Return a session as the holder of `access` sees it."""
    data: dict[str, Any] = SESSION.to_representation(session)
    return for_visitor(data, access) if access.is_public else data


class VisitorField(serializers.CharField):
    """A site's own id of a person, in the form in which it is stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": MAX_VISITOR_LENGTH, **options})

    def to_internal_value(self, data: Any) -> str:
        return normalised_identifier(super().to_internal_value(data))


class NewSessionSerializer(StrictSerializer, OverridesMixin):
    """Opens a session. Users must give the `tenant_id`; an API key belongs to one tenant."""

    tenant_id = ObjectIdStringField(required=False)
    visitor = VisitorField(required=False, allow_blank=True)
    title = serializers.CharField(max_length=200, required=False, allow_blank=True)
    metadata = MetadataField(required=False)


def gather_overrides(fields: dict[str, Any], session: ChatSession | None = None) -> dict[str, Any]:
    """Return `fields` with the overrides moved into `overrides`; null or empty removes one."""
    others = {name: value for name, value in fields.items() if name not in OVERRIDES}
    overrides = (dict(session.overrides) if session else {}) | {
        name: fields[name] for name in OVERRIDES if name in fields
    }
    return {**others, "overrides": {k: v for k, v in overrides.items() if v not in (None, "", [])}}


class SendOptionsSerializer(StrictSerializer):
    message = serializers.CharField(max_length=200_000, trim_whitespace=False)
    stream = serializers.BooleanField(default=False)

    def validate_message(self, text: str) -> str:
        if not text.strip():
            self.fields["message"].fail("blank")
        return text


class NewMessageSerializer(SendOptionsSerializer):
    """A question to a session. The other fields override session and tenant for this turn."""

    provider = serializers.CharField(max_length=40, required=False)
    model = serializers.CharField(max_length=MAX_TARGET_LENGTH, required=False)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False)
    max_tokens = serializers.IntegerField(min_value=1, max_value=MAX_TOKENS, required=False)
    metadata = MetadataField(required=False)
    concurrent = serializers.BooleanField(
        default=False, help_text="Accept the message although another turn of this session is still running."
    )


class SimpleChatSerializer(SendOptionsSerializer):
    """A message to the one-call endpoint, which opens a session unless `session_id` is given."""

    session_id = ObjectIdStringField(required=False)


class FeedbackSerializer(StrictSerializer):
    rating = serializers.ChoiceField(choices=("up", "down"))
    comment = serializers.CharField(max_length=2000, allow_blank=True, default="")


class UsageSerializer(serializers.Serializer[Any]):
    """Tokens and cost of a reply. `cost` in USD is null if no price is known."""

    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    estimated = serializers.BooleanField()
    cost = serializers.DecimalField(max_digits=18, decimal_places=10, allow_null=True)
    cost_currency = serializers.CharField()
    cost_basis = serializers.CharField()


class MessageSerializer(DocumentSerializer):
    """A question or a reply. The fields that only replies have are null or empty on questions."""

    # The fields describe what `message_data` returns.
    session_id = ObjectIdStringField(read_only=True)
    in_reply_to = ObjectIdStringField(read_only=True, allow_null=True)
    usage = UsageSerializer(read_only=True, allow_null=True)

    class Meta:
        model = Message
        fields = (
            "id",
            "session_id",
            "seq",
            "role",
            "content",
            "status",
            "in_reply_to",
            "run",
            "provider",
            "model",
            "finish",
            "usage",
            "first_token_ms",
            "latency_ms",
            "attempts",
            "error",
            "feedback",
            "metadata",
            "created_at",
            "updated_at",
            "finished_at",
        )
        read_only_fields = fields

    def to_representation(self, message: Message) -> dict[str, Any]:
        return message_data(message, self.context.get("access"))


def message_data(message: Message | Question | Reply, access: Access | None) -> dict[str, Any]:
    """Return a message as the holder of `access` sees it; None is for staff and tests, who see all.

    Every turn shows two. Built by hand, they cost a tenth of what the serializer's fields would.
    """
    data = {
        "id": str(message.id),
        "session_id": str(message.session_id),
        "seq": message.seq,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        **(_QUESTION_DATA if isinstance(message, Question) else _reply_data(message)),
        "metadata": message.metadata,
        "created_at": _time_text(message.created_at),
        "updated_at": _time_text(message.updated_at),
        "finished_at": _time_text(message.finished_at),
    }
    return data if access is None or not access.is_public else for_visitor(data, access)


def _reply_data(reply: Message | Reply) -> dict[str, Any]:
    return {
        "in_reply_to": str(reply.in_reply_to_id) if reply.in_reply_to_id else None,
        "run": reply.run,
        "provider": reply.provider,
        "model": reply.model,
        "finish": reply.finish,
        "usage": _usage_data(reply) if reply.role == Message.Role.ASSISTANT else None,
        "first_token_ms": reply.first_token_ms,
        "latency_ms": reply.latency_ms,
        "attempts": reply.attempts,
        "error": reply.error,
        "feedback": reply.feedback,
    }


#: What `_reply_data` would return for a question.
_QUESTION_DATA: dict[str, Any] = {
    "in_reply_to": None,
    "run": 1,
    "provider": "",
    "model": "",
    "finish": "",
    "usage": None,
    "first_token_ms": None,
    "latency_ms": None,
    "attempts": [],
    "error": None,
    "feedback": None,
}


def _usage_data(reply: Message | Reply) -> dict[str, Any]:
    return {
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cached_tokens": reply.cached_tokens,
        "reasoning_tokens": reply.reasoning_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "estimated": reply.tokens_estimated,
        "cost": None if reply.cost is None else f"{reply.cost:.10f}",
        "cost_currency": "USD",
        "cost_basis": reply.cost_basis,
    }


def _time_text(moment: datetime | None) -> str | None:
    """Return a UTC time as DRF writes it."""
    return moment.replace(tzinfo=None).isoformat() + "Z" if moment else None


class OpenedSessionSerializer(ChatSessionSerializer):
    """A new session; with a public key also the visitor's token, the only credential for it."""

    visitor_token = serializers.CharField(read_only=True, allow_null=True)

    class Meta(ChatSessionSerializer.Meta):
        fields = (*ChatSessionSerializer.Meta.fields, "visitor_token")


class ExchangeSerializer(serializers.Serializer[Any]):
    """A question and its reply."""

    message = MessageSerializer()
    reply = MessageSerializer()


class SimpleReplySerializer(serializers.Serializer[Any]):
    reply = serializers.CharField()
    session_id = ObjectIdStringField()
    message_id = ObjectIdStringField()
    provider = serializers.CharField()
    model = serializers.CharField()
    usage = UsageSerializer(allow_null=True)
    visitor_token = serializers.CharField(required=False)


class RetrySerializer(StrictSerializer):
    stream = serializers.BooleanField(default=False)


class EventSerializer(serializers.Serializer[Any]):
    """An event of a stream; an empty one is a ping."""

    event = serializers.ChoiceField(
        choices=("start", "delta", "restart", "usage", "done", "error"), required=False
    )
    id = serializers.CharField(required=False, help_text="What `Last-Event-ID` takes.")
    # A field, which DRF's metaclass removes from the class: the property `data` stays.
    data = serializers.CharField(  # type: ignore[assignment]
        required=False, help_text="A JSON object; its form depends on `event`."
    )
