"""Random conversations as raw documents: every outcome, receipts with failovers, gaps and odd values."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import Decimal128, ObjectId

from chat.models import ChatSession, Message

MODELS = [
    ("groq", "llama-3.3-70b"),
    ("groq", "openai/gpt-oss-20b"),
    ("gemini", "gemini-2.5-flash"),
    ("openrouter", "mistralai/mistral-small"),
    ("openrouter", "a.model$with.dots"),
]
ERRORS = ["rate_limit", "overloaded", "timeout", "bad_reply", "circuit_open"]


@dataclass
class Traffic:
    """Makes turns of one tenant between two moments. The same seed makes the same ones."""

    tenant_id: ObjectId
    start: datetime
    end: datetime
    seed: int = 0
    people: int = 20
    sessions: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.users = [ObjectId() for _ in range(self.people)]

    def turns(self, number: int, *, running: float = 0.0) -> Traffic:
        """Add turns in sessions of about four; a share of `running` is not finished."""
        for _ in range(number):
            if not self.sessions or self.random.random() < 0.25:
                self.sessions.append(self._session())
            self._turn(self.random.choice(self.sessions[-5:]), running)
        return self

    def stored(self) -> Traffic:
        ChatSession.collection().insert_many(self.sessions)
        Message.collection().insert_many(self.messages)
        return self

    def moment(self) -> datetime:
        """Return a moment in whole milliseconds, often at the very edge of a quarter hour."""
        moment = self.start + timedelta(
            milliseconds=self.random.randrange(int((self.end - self.start).total_seconds() * 1000))
        )
        if self.random.random() < 0.2:
            moment = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
            moment = max(self.start, moment - timedelta(milliseconds=self.random.choice((0, 1))))
        return moment

    def _session(self) -> dict[str, Any]:
        kind = self.random.random()
        return {
            "_id": ObjectId(),
            "tenant_id": self.tenant_id,
            "user_id": self.random.choice(self.users) if kind < 0.3 else None,
            "visitor": f"visitor-{self.random.randrange(self.people)}" if 0.3 < kind < 0.9 else "",
            "created_at": self.moment(),
        }

    def _turn(self, session: dict[str, Any], running: float) -> None:
        asked_at = self.moment()
        seq = len(self.messages)
        common = {"tenant_id": self.tenant_id, "session_id": session["_id"]}
        self.messages.append(
            {
                **common,
                "_id": ObjectId(),
                "seq": seq,
                "role": "user",
                "status": "complete",
                "content": "?",
                "created_at": asked_at,
                "attempts": [],
            }
        )
        reply = {
            **common,
            "_id": ObjectId(),
            "seq": seq + 1,
            "role": "assistant",
            "content": "!",
            "created_at": asked_at,
            "in_reply_to_id": self.messages[-1]["_id"],
        }
        self.messages.append({**reply, **self.outcome(running)})

    def outcome(self, running: float = 0.0) -> dict[str, Any]:
        """Return what a turn writes into a reply."""
        chance = self.random
        status = chance.choices(("complete", "cancelled", "failed", "interrupted"), (80, 6, 8, 6))[0]
        if chance.random() < running:
            status = "streaming"
        attempts = [
            self._attempt(run) for run in (1, 1, 2)[: chance.choices((0, 1, 2, 3), (3, 77, 15, 5))[0]]
        ]
        if attempts and status == "complete":
            attempts[-1]["outcome"] = "ok"
        provider, model = ("", "") if not attempts else (attempts[-1]["provider"], attempts[-1]["model"])
        cost = chance.randrange(10**9)
        return {
            "status": status,
            "provider": provider,
            "model": model,
            "input_tokens": chance.randrange(2000),
            "output_tokens": chance.randrange(500),
            "cached_tokens": chance.choice((0, chance.randrange(100))),
            "reasoning_tokens": chance.choice((0, chance.randrange(100))),
            "cost": Decimal128(f"{cost}E-10"),
            "cost_basis": "priced",
            "latency_ms": chance.choice((None, int(chance.lognormvariate(7, 1.5)), chance.randrange(120))),
            "first_token_ms": chance.choice((None, int(chance.lognormvariate(5, 1)))),
            "attempts": attempts,
            "feedback": chance.choice((None, None, {"rating": "up"}, {"rating": "down", "comment": "."})),
        }

    def _attempt(self, run: int) -> dict[str, Any]:
        chance = self.random
        provider, model = chance.choice(MODELS)
        basis = chance.choices(("reported", "priced", "estimated", "unpriced"), (3, 3, 2, 1))[0]
        cost = None if basis == "unpriced" else f"{chance.randrange(10**9)}E-10"
        line = {
            "run": run,
            "target": f"{provider}/{model}",
            "provider": provider,
            "model": model,
            "model_used": chance.choice(("", model)),
            "outcome": chance.choices(("ok", "cancelled", "interrupted", *ERRORS), (20, 2, 1, 2, 2, 2, 1, 1))[
                0
            ],
            "waited_ms": chance.choice((0, 0, chance.randrange(9000))),
            "input_tokens": chance.randrange(2000),
            "output_tokens": chance.randrange(500),
            "cost": cost,
            "cost_basis": basis,
        }
        if line["outcome"] == "interrupted":  # A dead worker's line says little more.
            for name in ("model_used", "waited_ms", "input_tokens", "output_tokens"):
                del line[name]
            line |= {"cost": None, "cost_basis": "unpriced"}
        return line
