"""Random conversations as raw documents: all outcomes, failovers, missing and extreme values."""

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
    """Generates turns of one tenant between two times. The same seed generates the same ones."""

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
        """Add turns in sessions of about four; `running` is the share of turns that have not ended."""
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
        """Return a time in whole milliseconds, often at the boundary of a quarter hour."""
        moment = self.start + timedelta(
            milliseconds=self.random.randrange(int((self.end - self.start).total_seconds() * 1000))
        )
        if self.random.random() < 0.2:
            moment = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
            moment = max(self.start, moment - timedelta(milliseconds=self.random.choice((0, 1))))
        return moment

    def _session(self) -> dict[str, Any]:
        owner = self.random.random()
        return {
            "_id": ObjectId(),
            "tenant_id": self.tenant_id,
            "user_id": self.random.choice(self.users) if owner < 0.3 else None,
            "visitor": f"visitor-{self.random.randrange(self.people)}" if 0.3 < owner < 0.9 else "",
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
        """Return the fields that a turn writes into a reply."""
        rng = self.random
        status = rng.choices(("complete", "cancelled", "failed", "interrupted"), (80, 6, 8, 6))[0]
        if rng.random() < running:
            status = "streaming"
        attempts = [self._attempt(run) for run in (1, 1, 2)[: rng.choices((0, 1, 2, 3), (3, 77, 15, 5))[0]]]
        if attempts and status == "complete":
            attempts[-1]["outcome"] = "ok"
        provider, model = ("", "") if not attempts else (attempts[-1]["provider"], attempts[-1]["model"])
        cost = rng.randrange(10**9)
        return {
            "status": status,
            "provider": provider,
            "model": model,
            "input_tokens": rng.randrange(2000),
            "output_tokens": rng.randrange(500),
            "cached_tokens": rng.choice((0, rng.randrange(100))),
            "reasoning_tokens": rng.choice((0, rng.randrange(100))),
            "cost": Decimal128(f"{cost}E-10"),
            "cost_basis": "priced",
            "latency_ms": rng.choice((None, int(rng.lognormvariate(7, 1.5)), rng.randrange(120))),
            "first_token_ms": rng.choice((None, int(rng.lognormvariate(5, 1)))),
            "attempts": attempts,
            "feedback": rng.choice((None, None, {"rating": "up"}, {"rating": "down", "comment": "."})),
        }

    def _attempt(self, run: int) -> dict[str, Any]:
        rng = self.random
        provider, model = rng.choice(MODELS)
        basis = rng.choices(("reported", "priced", "estimated", "unpriced"), (3, 3, 2, 1))[0]
        cost = None if basis == "unpriced" else f"{rng.randrange(10**9)}E-10"
        attempt = {
            "run": run,
            "target": f"{provider}/{model}",
            "provider": provider,
            "model": model,
            "model_used": rng.choice(("", model)),
            "outcome": rng.choices(("ok", "cancelled", "interrupted", *ERRORS), (20, 2, 1, 2, 2, 2, 1, 1))[0],
            "waited_ms": rng.choice((0, 0, rng.randrange(9000))),
            "input_tokens": rng.randrange(2000),
            "output_tokens": rng.randrange(500),
            "cost": cost,
            "cost_basis": basis,
        }
        if attempt["outcome"] == "interrupted":  # The attempt of a dead worker has few fields.
            for name in ("model_used", "waited_ms", "input_tokens", "output_tokens"):
                del attempt[name]
            attempt |= {"cost": None, "cost_basis": "unpriced"}
        return attempt
