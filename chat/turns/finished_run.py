"""A run that has ended, and what it counts for: ledger entries, tokens, cost, a message of the month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from django.utils import timezone

from chat.kept_data import reply_bytes
from chat.models import Message
from chat.turns.attempts import StoredAttempt, billed_tokens
from chat.turns.reply import Reply
from llm import canonical
from tenants.billing.counters import Settlement

Status = Message.Status


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What settlement needs of a run: whose it is, what it holds of the limits, what it used.

    `month` is what it counts against. `attempts` are those of this run only. `has_text` says whether any
    text was received. A run that is not stored, one of the OpenAI-compatible endpoint, has no `session_id`;
    `reply_id` is then the id that the ledger knows it by, and the last three are unused.
    """

    tenant_id: ObjectId
    reservation_id: ObjectId
    reply_id: ObjectId
    month: str
    status: str
    has_text: bool
    attempts: Sequence[StoredAttempt]
    api_key: ObjectId | None
    run: int = 1
    session_id: ObjectId | None = None
    question_id: ObjectId | None = None
    seq: int = 0
    finished_at: datetime | None = None
    kept_bytes: int = 0

    @classmethod
    def of(cls, reply: Reply) -> FinishedRun:
        """Return the last run of a reply in its final state."""
        return cls(
            tenant_id=reply.tenant_id,
            reservation_id=reply.reservation_id,
            reply_id=reply.id,
            month=reply.month,
            status=reply.status,
            has_text=bool(reply.content),
            attempts=[attempt for attempt in reply.attempts if attempt["run"] == reply.run],
            api_key=reply.api_key,
            run=reply.run,
            session_id=reply.session_id,
            question_id=reply.in_reply_to_id,
            seq=reply.seq,
            finished_at=reply.finished_at,
            kept_bytes=reply_bytes(reply.content, reply.attempts),
        )

    @classmethod
    def unused(cls, tenant_id: ObjectId, reservation_id: ObjectId) -> FinishedRun:
        """Return a run that made no call, to release a reservation that may not exist."""
        return cls(
            tenant_id=tenant_id,
            reservation_id=reservation_id,
            reply_id=reservation_id,
            month="",
            status=Status.FAILED.value,
            has_text=False,
            attempts=(),
            api_key=None,
        )

    @property
    def key(self) -> str:
        """What identifies it where it is set aside."""
        return f"{self.reply_id}:{self.run}"

    @property
    def counts_as_message(self) -> bool:
        """Whether it counts against the month's messages: if its reader got an answer or a part of one.

        A part that a provider's failure ended does not count.
        """
        if self.status == Status.COMPLETE:
            return True
        ended_well = self.status == Status.CANCELLED or any(
            attempt.get("delivered") for attempt in self.attempts[-1:]
        )
        return self.has_text and ended_well


def ledger_entries(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the ledger entries of a run, one for each attempt; `settlement_of` is their sum.

    Raises anything for a run that was not stored by this program.
    """
    now = timezone.now()
    if not isinstance(run.month, str):
        raise TypeError(f"{run.month!r} is not a month.")
    return [
        {
            "tenant_id": run.tenant_id,
            "month": run.month,
            "session": run.session_id,
            "reply": run.reply_id,
            "run": run.run,
            "attempt": number,
            "api_key": run.api_key,
            "provider": attempt["provider"],
            "model": attempt.get("model_used") or attempt["model"],
            "outcome": attempt["outcome"],
            "input_tokens": attempt.get("input_tokens"),
            "output_tokens": attempt.get("output_tokens"),
            "messages": int(number == len(run.attempts) and run.counts_as_message),
            "tokens": billed_tokens(attempt),
            "cost": _stored_cost(attempt["cost"]),
            "cost_basis": attempt["cost_basis"],
            "created_at": now,
            "updated_at": now,
        }
        for number, attempt in enumerate(run.attempts, 1)
    ]


def _stored_cost(cost: str | None) -> Decimal128 | None:
    return None if cost is None else Decimal128(canonical.quantized_usd(Decimal(cost)))


def settlement_of(
    tenant_id: ObjectId,
    reservation_id: ObjectId,
    entries: Sequence[dict[str, Any]],
    kept_bytes: int = 0,
) -> Settlement:
    """Return what a reservation becomes once the ledger has `entries` of its run."""
    costs = [entry["cost"].to_decimal() for entry in entries if entry["cost"] is not None]
    return Settlement(
        tenant_id=tenant_id,
        reservation_id=reservation_id,
        tokens=sum(entry["tokens"] for entry in entries),
        cost=sum(costs, Decimal(0)) if costs else None,
        messages=sum(entry["messages"] for entry in entries),
        kept_bytes=kept_bytes,
    )
