"""What settled replies change in their sessions: number of messages, last activity, the first title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from django.utils import timezone
from pymongo import UpdateOne

from chat.analytics.deletion import delete_messages
from chat.models import ChatSession
from chat.turns import replies
from chat.turns.finished_run import FinishedRun
from core.mongo.models import later_version
from tenants.models import LedgerEntry

TITLE_LENGTH = 80


def update_sessions(runs: Sequence[FinishedRun]) -> None:
    """Raise each session's counters at least to its newest settled reply; give untitled ones a title.

    Repeatable, in any order: `$max` never lowers a counter, and only an empty title is replaced.
    """
    if not runs:
        return
    titles = _titles(runs)
    writes = [_update(run, titles.get(run.question_id)) for run in runs]
    written = ChatSession.collection().bulk_write(writes, ordered=False)
    if written.matched_count < len(writes):
        _remove_messages_of_erased_sessions(runs)


def _update(run: FinishedRun, title: str | None) -> UpdateOne:
    change: dict[str, Any] = {
        "message_count": {"$max": ["$message_count", run.seq]},
        "last_message_at": {"$max": ["$last_message_at", run.finished_at]},
        "updated_at": later_version(timezone.now()),
    }
    if title:
        change["title"] = {"$cond": [{"$eq": ["$title", ""]}, {"$literal": title}, "$title"]}
    return UpdateOne({"_id": run.session_id}, [{"$set": change}])


def _titles(runs: Sequence[FinishedRun]) -> dict[ObjectId | None, str]:
    """Return `{question id: title}` for the first questions of sessions."""
    first_questions = [run.question_id for run in runs if run.seq == 2 and run.question_id]
    if not first_questions:
        return {}
    return {
        question["_id"]: title_of(question["content"]) for question in replies.contents_of(first_questions)
    }


def _remove_messages_of_erased_sessions(runs: Sequence[FinishedRun]) -> None:
    """Remove what was stored in a session while that was erased."""
    ids = {run.session_id for run in runs}
    present = {row["_id"] for row in ChatSession.collection().find({"_id": {"$in": list(ids)}}, {"_id": 1})}
    late = [run for run in runs if run.session_id not in present]
    LedgerEntry.collection().update_many(
        {"reply": {"$in": [run.reply_id for run in late]}}, {"$set": {"session": None}}
    )
    for run in late:
        delete_messages(run.tenant_id, [id_ for id_ in (run.question_id, run.reply_id) if id_])


def title_of(question: str) -> str:
    """Return the first words of a question, at most TITLE_LENGTH characters."""
    line = " ".join(question.split())
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rsplit(" ", 1)[0] + "…"
