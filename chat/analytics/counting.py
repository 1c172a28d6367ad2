"""Figures counted from messages and sessions, per quarter hour.

Three aggregations over messages and two queries of sessions, whatever the number of messages, each
on an index. Pipelines hold literals of ours, ids and dates, never a client's value.

A message belongs to the quarter hour in which it was created; a reply counts once it is final.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from pymongo.client_session import ClientSession

from chat.analytics.histogram import rounded_expression
from chat.analytics.metrics import ATTEMPT_COUNTS, Figures, Share, Target, person
from chat.analytics.periods import Span
from chat.models import ChatSession, Message
from core.time import utc

FINAL = ("complete", "cancelled", "failed", "interrupted")
COST_BASES = ("reported", "priced", "estimated")
#: Ends of attempts that are no error of the provider: answered, stopped, our own server's death.
NO_ERRORS = ("ok", "cancelled", "interrupted")

_REPLY_SUMS = (
    *FINAL,
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "up",
    "down",
)

#: With more clauses in one match, planning costs more than another round trip.
SPANS_AT_ONCE = 100

_QUARTER = {"$dateTrunc": {"date": "$created_at", "unit": "minute", "binSize": 15}}


@dataclass(slots=True)
class Counted:
    """Figures by the start of their quarter hour; `running`: quarter hours with unfinished replies."""

    quarters: dict[datetime, Figures] = field(default_factory=lambda: defaultdict(Figures))
    running: set[datetime] = field(default_factory=set)


def count_spans(tenant_id: ObjectId, spans: Sequence[Span], session: ClientSession | None = None) -> Counted:
    """Count what was created within any of `spans`, which don't overlap."""
    counted = Counted()
    for at in range(0, len(spans), SPANS_AT_ONCE):
        match = within(tenant_id, spans[at : at + SPANS_AT_ONCE])
        count_messages(counted, tenant_id, match, session)
        count_sessions(counted, match, session)
    return counted


def within(tenant_id: ObjectId, spans: Iterable[Span]) -> dict[str, Any]:
    """Return the condition that finds a tenant's documents created within any of `spans`."""
    # The tenant in each branch, so that each is a range of the index.
    return {
        "$or": [
            {"tenant_id": tenant_id, "created_at": {"$gte": span.start, "$lt": span.end}} for span in spans
        ]
    }


def count_messages(
    counted: Counted, tenant_id: ObjectId, match: dict[str, Any], session: ClientSession | None = None
) -> None:
    """Add the messages that `match` finds."""
    messages = Message.collection()
    for row in messages.aggregate(reply_pipeline(match), session=session):
        quarter, target = _place(row)
        if row["_id"]["running"]:
            counted.running.add(quarter)
        else:
            _add_replies(counted.quarters[quarter].share(target), row)
    for row in messages.aggregate(attempt_pipeline(match), session=session):
        quarter, target = _place(row)
        _add_attempts(counted.quarters[quarter].share(target), row)
    questions = list(messages.aggregate(question_pipeline(match), session=session))
    _add_questions(counted, tenant_id, questions, session)


def count_sessions(counted: Counted, match: dict[str, Any], session: ClientSession | None = None) -> None:
    """Add the sessions that `match` finds, each in the quarter hour in which it was created."""
    for row in ChatSession.collection().aggregate(session_pipeline(match), session=session):
        counted.quarters[utc(row["_id"])].sessions += row["sessions"]


# -- pipelines -----------------------------------------------------------------


def reply_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Replies by quarter hour and by who answered, the running ones apart from the final."""
    complete = {"$eq": ["$status", "complete"]}
    return [
        {"$match": {**match, "role": "assistant"}},
        {
            "$group": {
                "_id": {
                    "quarter": _QUARTER,
                    "provider": "$provider",
                    "model": "$model",
                    "running": {"$eq": ["$status", "streaming"]},
                },
                **{status: _count_if({"$eq": ["$status", status]}) for status in FINAL},
                "input_tokens": {"$sum": "$input_tokens"},
                "output_tokens": {"$sum": "$output_tokens"},
                "cached_tokens": {"$sum": "$cached_tokens"},
                "reasoning_tokens": {"$sum": "$reasoning_tokens"},
                "up": _count_if({"$eq": ["$feedback.rating", "up"]}),
                "down": _count_if({"$eq": ["$feedback.rating", "down"]}),
                "latency": _rounded_if(complete, "$latency_ms"),
                "first_token": _rounded_if(complete, "$first_token_ms"),
            }
        },
    ]


def attempt_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Attempts of final replies by quarter hour, by who was called and by how it ended."""
    this, following = "$$this", "$$following"
    attempt = {
        "provider": f"{this}.provider",
        # What the provider says it used, as in the ledger and in the reply itself.
        "model": {"$cond": [{"$gt": [f"{this}.model_used", ""]}, f"{this}.model_used", f"{this}.model"]},
        "outcome": f"{this}.outcome",
        "failover": {
            "$and": [
                {"$eq": [f"{this}.run", f"{following}.run"]},
                {"$ne": [f"{this}.target", f"{following}.target"]},
            ]
        },
        "waited_ms": f"{this}.waited_ms",
        "input_tokens": f"{this}.input_tokens",
        "output_tokens": f"{this}.output_tokens",
        "basis": f"{this}.cost_basis",
        "cost": {"$convert": {"input": f"{this}.cost", "to": "decimal", "onError": None, "onNull": None}},
    }
    receipt = {"$ifNull": ["$attempts", []]}
    with_following = {
        "$let": {
            "vars": {
                "this": {"$arrayElemAt": [receipt, "$$at"]},
                "following": {"$arrayElemAt": [receipt, {"$add": ["$$at", 1]}]},
            },
            "in": attempt,
        }
    }
    numbers = {"$range": [0, {"$size": receipt}]}
    return [
        {"$match": {**match, "role": "assistant", "status": {"$in": list(FINAL)}}},
        {
            "$project": {
                "quarter": _QUARTER,
                "attempt": {"$map": {"input": numbers, "as": "at", "in": with_following}},
            }
        },
        {"$unwind": "$attempt"},
        {
            "$group": {
                "_id": {
                    "quarter": "$quarter",
                    "provider": "$attempt.provider",
                    "model": "$attempt.model",
                    "outcome": "$attempt.outcome",
                },
                "attempts": {"$sum": 1},
                "failovers": _count_if("$attempt.failover"),
                "waited_ms": {"$sum": "$attempt.waited_ms"},
                "attempt_input_tokens": {"$sum": "$attempt.input_tokens"},
                "attempt_output_tokens": {"$sum": "$attempt.output_tokens"},
                "unpriced": _count_if({"$eq": ["$attempt.cost", None]}),
                **{
                    basis: {"$sum": {"$cond": [{"$eq": ["$attempt.basis", basis]}, "$attempt.cost", None]}}
                    for basis in COST_BASES
                },
            }
        },
    ]


def question_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Questions by quarter hour and session."""
    return [
        {"$match": {**match, "role": "user"}},
        {"$group": {"_id": {"quarter": _QUARTER, "session": "$session_id"}, "messages": {"$sum": 1}}},
    ]


def session_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Sessions by the quarter hour in which they were created."""
    return [{"$match": match}, {"$group": {"_id": _QUARTER, "sessions": {"$sum": 1}}}]


def _count_if(condition: Any) -> dict[str, Any]:
    return {"$sum": {"$cond": [condition, 1, 0]}}


def _rounded_if(condition: Any, path: str) -> dict[str, Any]:
    known = {"$and": [condition, {"$ne": [{"$ifNull": [path, None]}, None]}]}
    return {"$push": {"$cond": [known, rounded_expression(path), "$$REMOVE"]}}


# -- rows ----------------------------------------------------------------------


def _place(row: dict[str, Any]) -> tuple[datetime, Target]:
    group = row["_id"]
    return utc(group["quarter"]), Target(group.get("provider") or "", group.get("model") or "")


def _add_replies(share: Share, row: dict[str, Any]) -> None:
    _add_sums(share, row, _REPLY_SUMS)
    share.latency.add(Counter(row["latency"]))
    share.first_token.add(Counter(row["first_token"]))


def _add_attempts(share: Share, row: dict[str, Any]) -> None:
    _add_sums(share, row, ATTEMPT_COUNTS)
    outcome = row["_id"].get("outcome") or "error"
    if outcome not in NO_ERRORS:
        share.errors[outcome] = share.errors.get(outcome, 0) + row["attempts"]
    for basis in COST_BASES:
        if isinstance(row[basis], Decimal128):  # A sum of nothing is a plain 0.
            share.costs[basis] = share.costs.get(basis, Decimal(0)) + row[basis].to_decimal()


def _add_sums(share: Share, row: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if row[name]:
            share.counts[name] = share.count(name) + row[name]


def _add_questions(
    counted: Counted, tenant_id: ObjectId, rows: list[dict[str, Any]], session: ClientSession | None
) -> None:
    asked = ChatSession.collection().find(
        {"_id": {"$in": list({row["_id"]["session"] for row in rows})}, "tenant_id": tenant_id},
        {"user_id": 1, "visitor": 1},
        session=session,
    )
    users, visitors = {}, {}
    for document in asked:
        if document.get("user_id"):
            users[document["_id"]] = person(tenant_id, "user", document["user_id"])
        elif document.get("visitor"):
            visitors[document["_id"]] = person(tenant_id, "visitor", document["visitor"])
    for row in rows:
        figures, asker = counted.quarters[utc(row["_id"]["quarter"])], row["_id"]["session"]
        figures.messages += row["messages"]
        if asker in users:
            figures.users.add(users[asker])
        elif asker in visitors:
            figures.visitors.add(visitors[asker])
