"""Metrics per quarter hour, counted from messages and sessions.

Takes three aggregations over messages and two queries of sessions, whatever the number of messages, each
on an index. Pipelines contain our own literals, ids and dates, never a client's value.

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
from chat.analytics.metrics import ATTEMPT_COUNTS, Metrics, Target, TargetMetrics, person_digest
from chat.analytics.periods import Span
from chat.models import FINAL, ChatSession, Message
from core.time import utc

COST_BASES = ("reported", "priced", "estimated")
#: Outcomes of attempts that are not errors of the provider: success, cancelled, lost with one of our servers.
NON_ERRORS = ("ok", "cancelled", "interrupted")

_REPLY_SUMS = (
    *FINAL,
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "up",
    "down",
)

#: With more clauses in one match, planning the query takes longer than another round trip.
SPANS_PER_QUERY = 100

_QUARTER = {"$dateTrunc": {"date": "$created_at", "unit": "minute", "binSize": 15}}


@dataclass(slots=True)
class QuarterMetrics:
    """Metrics by the start of their quarter hour.

    `running` are the quarter hours with replies that are not final, which count for nothing yet.
    """

    quarters: dict[datetime, Metrics] = field(default_factory=lambda: defaultdict(Metrics))
    running: set[datetime] = field(default_factory=set)


def count_spans(
    tenant_id: ObjectId, spans: Sequence[Span], session: ClientSession | None = None
) -> QuarterMetrics:
    """Count what was created within any of `spans`, which don't overlap."""
    counted = QuarterMetrics()
    for first in range(0, len(spans), SPANS_PER_QUERY):
        match = created_within(tenant_id, spans[first : first + SPANS_PER_QUERY])
        count_messages(counted, tenant_id, match, session)
        count_sessions(counted, match, session)
    return counted


def created_within(tenant_id: ObjectId, spans: Iterable[Span]) -> dict[str, Any]:
    """Return the condition that finds a tenant's documents created within any of `spans`."""
    # The tenant in each branch, so that each is a range of the index.
    return {
        "$or": [
            {"tenant_id": tenant_id, "created_at": {"$gte": span.start, "$lt": span.end}} for span in spans
        ]
    }


def count_messages(
    counted: QuarterMetrics, tenant_id: ObjectId, match: dict[str, Any], session: ClientSession | None = None
) -> None:
    """Add the messages that match."""
    messages = Message.collection()
    for row in messages.aggregate(reply_pipeline(match), session=session):
        quarter, target = _quarter_and_target(row)
        if row["_id"]["running"]:
            counted.running.add(quarter)
        else:
            _add_replies(counted.quarters[quarter].target(target), row)
    for row in messages.aggregate(attempt_pipeline(match), session=session):
        quarter, target = _quarter_and_target(row)
        _add_attempts(counted.quarters[quarter].target(target), row)
    questions = list(messages.aggregate(question_pipeline(match), session=session))
    _add_questions(counted, tenant_id, questions, session)


def count_sessions(
    counted: QuarterMetrics, match: dict[str, Any], session: ClientSession | None = None
) -> None:
    """Add the sessions that match."""
    for row in ChatSession.collection().aggregate(session_pipeline(match), session=session):
        counted.quarters[utc(row["_id"])].sessions += row["sessions"]


# -- pipelines -----------------------------------------------------------------


def reply_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Group replies by quarter hour and replying target, running replies apart from final ones."""
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
    """Group the attempts of final replies by quarter hour, called target and outcome."""
    this, following = "$$this", "$$following"
    attempt = {
        "provider": f"{this}.provider",
        # The model that the provider reports, as in the ledger and in the reply itself.
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
    attempts = {"$ifNull": ["$attempts", []]}
    with_following = {
        "$let": {
            "vars": {
                "this": {"$arrayElemAt": [attempts, "$$index"]},
                "following": {"$arrayElemAt": [attempts, {"$add": ["$$index", 1]}]},
            },
            "in": attempt,
        }
    }
    indexes = {"$range": [0, {"$size": attempts}]}
    return [
        {"$match": {**match, "role": "assistant", "status": {"$in": list(FINAL)}}},
        {
            "$project": {
                "quarter": _QUARTER,
                "attempt": {"$map": {"input": indexes, "as": "index", "in": with_following}},
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
    """Group questions by quarter hour and session."""
    return [
        {"$match": {**match, "role": "user"}},
        {"$group": {"_id": {"quarter": _QUARTER, "session": "$session_id"}, "messages": {"$sum": 1}}},
    ]


def session_pipeline(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Group sessions by quarter hour."""
    return [{"$match": match}, {"$group": {"_id": _QUARTER, "sessions": {"$sum": 1}}}]


def _count_if(condition: Any) -> dict[str, Any]:
    return {"$sum": {"$cond": [condition, 1, 0]}}


def _rounded_if(condition: Any, path: str) -> dict[str, Any]:
    known = {"$and": [condition, {"$ne": [{"$ifNull": [path, None]}, None]}]}
    return {"$push": {"$cond": [known, rounded_expression(path), "$$REMOVE"]}}


# -- rows ----------------------------------------------------------------------


def _quarter_and_target(row: dict[str, Any]) -> tuple[datetime, Target]:
    group = row["_id"]
    return utc(group["quarter"]), Target(group.get("provider") or "", group.get("model") or "")


def _add_replies(metrics: TargetMetrics, row: dict[str, Any]) -> None:
    _add_counts(metrics, row, _REPLY_SUMS)
    metrics.latency.add(Counter(row["latency"]))
    metrics.first_token.add(Counter(row["first_token"]))


def _add_attempts(metrics: TargetMetrics, row: dict[str, Any]) -> None:
    _add_counts(metrics, row, ATTEMPT_COUNTS)
    outcome = row["_id"].get("outcome") or "error"
    if outcome not in NON_ERRORS:
        metrics.errors[outcome] = metrics.errors.get(outcome, 0) + row["attempts"]
    for basis in COST_BASES:
        if isinstance(row[basis], Decimal128):  # MongoDB's sum of no values is the integer 0.
            metrics.costs[basis] = metrics.costs.get(basis, Decimal(0)) + row[basis].to_decimal()


def _add_counts(metrics: TargetMetrics, row: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if row[name]:
            metrics.counts[name] = metrics.count(name) + row[name]


def _add_questions(
    counted: QuarterMetrics, tenant_id: ObjectId, rows: list[dict[str, Any]], session: ClientSession | None
) -> None:
    sessions = ChatSession.collection().find(
        {"_id": {"$in": list({row["_id"]["session"] for row in rows})}, "tenant_id": tenant_id},
        {"user_id": 1, "visitor": 1},
        session=session,
    )
    users, visitors = {}, {}
    for document in sessions:
        if document.get("user_id"):
            users[document["_id"]] = person_digest(tenant_id, "user", document["user_id"])
        elif document.get("visitor"):
            visitors[document["_id"]] = person_digest(tenant_id, "visitor", document["visitor"])
    for row in rows:
        metrics, session_id = counted.quarters[utc(row["_id"]["quarter"])], row["_id"]["session"]
        metrics.messages += row["messages"]
        if session_id in users:
            metrics.users.add(users[session_id])
        elif session_id in visitors:
            metrics.visitors.add(visitors[session_id])
