"""A session, its caller's access and its newest messages, in one read.

Every route below `/api/chat/sessions/{id}` begins here. A session out of the caller's reach is reported
exactly like a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chat.models import ChatSession, Message
from chat.turns import HISTORY_LIMIT, ConversationMessage, Question, Reply, newest_within_bounds
from core.errors import NotFound
from core.mongo.ids import object_id
from tenants.access import Access, TenantCaller

#: What a turn needs of earlier messages; contents are most of the bytes read.
_TURN_FIELDS = dict.fromkeys(("seq", "role", "content", "status", "run", "provider", "model"), 1)


@dataclass(slots=True)
class Conversation:
    """`messages` are raw documents, oldest first, and only loaded for turns; `existing_question` is the
    stored question with the same Idempotency-Key, if any. `is_new` says that this request opened the session.
    """

    caller: TenantCaller
    session: ChatSession
    access: Access
    messages: list[ConversationMessage] = field(default_factory=list)
    existing_question: Question | None = None
    is_new: bool = False

    @property
    def last_seq(self) -> int:
        return self.messages[-1]["seq"] if self.messages else 0

    @property
    def running(self) -> ConversationMessage | None:
        """The newest reply that is still streaming."""
        return next((m for m in reversed(self.messages) if m["status"] == Message.Status.STREAMING), None)

    def reload(self, *, idempotency_digest: str | None = None) -> Conversation:
        """Return the conversation as it is now, with its messages. Raises as `load` does."""
        return load(self.caller, self.session.pk, with_messages=True, idempotency_digest=idempotency_digest)


def load(
    caller: TenantCaller,
    session_id: object,
    *,
    with_messages: bool = False,
    idempotency_digest: str | None = None,
) -> Conversation:
    """Return the conversation of `session_id` if it is within the caller's reach.

    Raises NotFound for all others, TenantSuspended, and AuthenticationFailed for a visitor whose key is no
    longer valid.
    """
    wanted = object_id(session_id)
    reach = caller.reach(wanted) if wanted else None
    if reach is None:
        raise NotFound
    stages = [{"$match": {**reach, "deleted_at": None}}, *caller.lookup_credential()]
    if with_messages:
        stages.append(_lookup_messages(caller.known_access))
    if idempotency_digest:
        stages.append(_lookup_question(idempotency_digest))
    document = next(iter(ChatSession.collection().aggregate(stages)), None)
    if document is None:
        raise NotFound
    return _conversation(caller, document)


def find_message(session: ChatSession, message_id: str) -> Question | Reply | None:
    """Return the message of that id if it belongs to the session."""
    wanted = object_id(message_id)
    if wanted is None:
        return None
    document = Message.collection().find_one({"_id": wanted, "session_id": session.pk})
    if document is None:
        return None
    kind = Reply if document["role"] == Message.Role.ASSISTANT else Question
    return kind.from_document(document)


def _conversation(caller: TenantCaller, document: dict[str, Any]) -> Conversation:
    session = ChatSession.from_document(document)
    access = caller.access_from(document)
    session.tenant = access.tenant
    messages = document.get("messages", [])[::-1]
    questions = map(Question.from_document, document.get("question", []))
    return Conversation(caller, session, access, messages, next(questions, None))


def _lookup_messages(known: Access | None) -> dict[str, Any]:
    """`known` spares reading more messages than its plan sends."""
    allowed = known.tenant.plan.history_messages if known else None
    # Two more: a running reply and its question are the newest, and not sent.
    limit = min(allowed or HISTORY_LIMIT, HISTORY_LIMIT) + 2
    return {
        "$lookup": {
            "from": Message._meta.db_table,
            "localField": "_id",
            "foreignField": "session_id",
            "pipeline": newest_within_bounds(limit, _TURN_FIELDS),
            "as": "messages",
        }
    }


def _lookup_question(idempotency_digest: str) -> dict[str, Any]:
    return {
        "$lookup": {
            "from": Message._meta.db_table,
            "pipeline": [{"$match": {"idempotency": idempotency_digest}}],
            "as": "question",
        }
    }
