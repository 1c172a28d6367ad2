"""The reply of a turn, as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from bson import Decimal128, ObjectId

from chat.models import Message
from chat.turns.attempts import StoredAttempt, StoredError
from chat.turns.question import EMPTY_DOCUMENT
from core.mongo.text_search import inner_words
from core.time import utc
from llm.canonical import Target

Status = Message.Status


@dataclass(frozen=True, slots=True)
class Reply:
    """A stored message of the role `assistant`, as it was when it was read or written.

    Attributes are those of `Message`; times are UTC, `cost` is in US dollars. `reservation_id` is what its
    last run holds of the tenant's limits, `month` what that run counts against.
    """

    id: ObjectId
    session_id: ObjectId
    tenant_id: ObjectId
    api_key: ObjectId | None
    seq: int
    in_reply_to_id: ObjectId
    provider: str
    model: str
    reservation_id: ObjectId
    month: str
    created_at: datetime
    updated_at: datetime
    run: int = 1
    epoch: int = 1
    status: str = Status.STREAMING.value
    content: str = ""
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_estimated: bool = False
    cost: Decimal | None = None
    cost_basis: str = ""
    first_token_ms: int | None = None
    latency_ms: int | None = None
    attempts: list[StoredAttempt] = field(default_factory=list)
    error: StoredError | None = None
    feedback: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    settled: bool | None = None
    finished_at: datetime | None = None

    role: ClassVar = Message.Role.ASSISTANT.value

    @property
    def is_running(self) -> bool:
        return self.status == Status.STREAMING

    @property
    def is_successful(self) -> bool:
        """Whether it ended as its readers wanted: complete, or cancelled by them."""
        return self.status in (Status.COMPLETE, Status.CANCELLED)

    @property
    def target(self) -> Target:
        return Target(self.provider, self.model)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reply:
        cost, finished_at = document["cost"], document["finished_at"]
        return cls(
            id=document["_id"],
            session_id=document["session_id"],
            tenant_id=document["tenant_id"],
            api_key=document["api_key"],
            seq=document["seq"],
            in_reply_to_id=document["in_reply_to_id"],
            provider=document["provider"],
            model=document["model"],
            reservation_id=document["reservation"],
            month=document["month"],
            created_at=utc(document["created_at"]),
            updated_at=utc(document["updated_at"]),
            run=document["run"],
            epoch=document["epoch"],
            status=document["status"],
            content=document["content"],
            finish=document["finish"],
            input_tokens=document["input_tokens"],
            output_tokens=document["output_tokens"],
            cached_tokens=document["cached_tokens"],
            reasoning_tokens=document["reasoning_tokens"],
            tokens_estimated=document["tokens_estimated"],
            cost=cost.to_decimal() if cost is not None else None,
            cost_basis=document["cost_basis"],
            first_token_ms=document["first_token_ms"],
            latency_ms=document["latency_ms"],
            attempts=document["attempts"],
            error=document["error"],
            feedback=document["feedback"],
            metadata=document["metadata"],
            settled=document["settled"],
            finished_at=finished_at and utc(finished_at),
        )

    def to_document(self) -> dict[str, Any]:
        return {
            **EMPTY_DOCUMENT,
            **self.final_columns(),
            "_id": self.id,
            "session_id": self.session_id,
            "tenant_id": self.tenant_id,
            "api_key": self.api_key,
            "seq": self.seq,
            "role": self.role,
            "in_reply_to_id": self.in_reply_to_id,
            "run": self.run,
            "reservation": self.reservation_id,
            "month": self.month,
            "feedback": self.feedback,
            "metadata": self.metadata,
            "created_at": self.created_at,
        }

    def final_columns(self) -> dict[str, Any]:
        """Return what the end of a run changes, by column."""
        return {
            "epoch": self.epoch,
            "status": self.status,
            "content": self.content,
            "search_terms": inner_words(self.content),
            "provider": self.provider,
            "model": self.model,
            "finish": self.finish,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "tokens_estimated": self.tokens_estimated,
            "cost": None if self.cost is None else Decimal128(self.cost),
            "cost_basis": self.cost_basis,
            "first_token_ms": self.first_token_ms,
            "latency_ms": self.latency_ms,
            "attempts": self.attempts,
            "error": self.error,
            "settled": self.settled,
            "finished_at": self.finished_at,
            "updated_at": self.updated_at,
        }
