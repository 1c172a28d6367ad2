"""The question of a turn, as it is sent and as it is stored. It never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, TypedDict

from bson import ObjectId

from chat.models import Message
from core.mongo.text_search import inner_words
from core.time import utc


class RequestedOptions(TypedDict, total=False):
    """What a request sets for its turn; a retry uses the same."""

    provider: str
    model: str
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A valid request to send a message.

    `fingerprint` is a digest of its body. `idempotency_digest` identifies caller, route and Idempotency-Key;
    None without that header. With `concurrent` it may run beside another turn of its session.
    """

    text: str
    fingerprint: str
    idempotency_digest: str | None = None
    stream: bool = False
    concurrent: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    requested_options: RequestedOptions = field(default_factory=RequestedOptions)


@dataclass(frozen=True, slots=True)
class Question:
    """A stored message of the role `user`. Attributes are those of `Message`; times are UTC."""

    id: ObjectId
    session_id: ObjectId
    tenant_id: ObjectId
    api_key: ObjectId | None
    seq: int
    content: str
    metadata: dict[str, Any]
    requested_options: RequestedOptions
    fingerprint: str
    idempotency_digest: str | None
    created_at: datetime
    updated_at: datetime

    role: ClassVar = Message.Role.USER.value
    status: ClassVar = Message.Status.COMPLETE.value
    finished_at: ClassVar = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Question:
        return cls(
            id=document["_id"],
            session_id=document["session_id"],
            tenant_id=document["tenant_id"],
            api_key=document["api_key"],
            seq=document["seq"],
            content=document["content"],
            metadata=document["metadata"],
            requested_options=document["wish"] or RequestedOptions(),
            fingerprint=document["fingerprint"],
            idempotency_digest=document["idempotency"],
            created_at=utc(document["created_at"]),
            updated_at=utc(document["updated_at"]),
        )

    def to_document(self) -> dict[str, Any]:
        return {
            **EMPTY_DOCUMENT,
            "_id": self.id,
            "session_id": self.session_id,
            "tenant_id": self.tenant_id,
            "api_key": self.api_key,
            "seq": self.seq,
            "role": self.role,
            "content": self.content,
            "search_terms": inner_words(self.content),
            "status": self.status,
            "metadata": self.metadata,
            "wish": self.requested_options,
            "fingerprint": self.fingerprint,
            "idempotency": self.idempotency_digest,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


#: Every column of a message with its default, so that raw documents equal those that the ORM writes.
EMPTY_DOCUMENT: dict[str, Any] = {
    str(field.column): field.get_default() if field.has_default() else None
    for field in Message._meta.concrete_fields
    if not field.primary_key
}
