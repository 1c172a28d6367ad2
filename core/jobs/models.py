"""When each job is due, and which process runs it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models

from core.mongo.models import Document
from core.time import now_in_milliseconds

#: How long a killed process keeps its job from the others; a running one renews its claim.
CLAIM = timedelta(seconds=60)

#: When a failed job is retried, unless it is due sooner.
RETRY = timedelta(minutes=5)

_MAX_OUTCOME_LENGTH = 500


class JobManager(models.Manager["Job"]):
    def claim(self, name: str) -> datetime | None:
        """Claim the job for this process if it is due and not claimed.

        Return the time of the claim, which identifies it when it is renewed and finished, else None.
        A job that never ran is due at once.
        """
        now = now_in_milliseconds()
        new = {"due_at": now, "claimed_until": None, "started_at": None, "finished_at": None, "outcome": ""}
        jobs = self.model.collection()
        jobs.update_one(
            {"_id": name}, {"$setOnInsert": {**new, "created_at": now, "updated_at": now}}, upsert=True
        )
        # `$not` includes those without a claim: null is not greater than any time.
        due = {"_id": name, "due_at": {"$lte": now}, "claimed_until": {"$not": {"$gt": now}}}
        claimed = jobs.update_one(due, {"$set": {"claimed_until": now + CLAIM, "started_at": now}})
        return now if claimed.modified_count else None

    def renew(self, name: str, claim: datetime) -> None:
        self._update(name, claim, claimed_until=now_in_milliseconds() + CLAIM)

    def finish(self, name: str, claim: datetime, every: timedelta, error: str = "") -> None:
        """Record how the job ended; it is due again `every` after it started."""
        delay = min(every, RETRY) if error else every
        self._update(
            name,
            claim,
            due_at=claim + delay,
            claimed_until=None,
            finished_at=now_in_milliseconds(),
            outcome=error[:_MAX_OUTCOME_LENGTH] or "done",
        )

    def release(self, name: str, claim: datetime) -> None:
        """Give up the claim of a job that did not finish; it is due at once."""
        self._update(name, claim, claimed_until=None)

    def _update(self, name: str, claim: datetime, **fields: object) -> None:
        """Update the job if it still has this claim: a process that lost it must not change another's."""
        self.model.collection().update_one(
            {"_id": name, "started_at": claim}, {"$set": {**fields, "updated_at": now_in_milliseconds()}}
        )


class Job(Document):
    """One command of `settings.JOBS`; `outcome` is "done", or the error of its last run."""

    name = models.CharField(max_length=60, primary_key=True, db_column="_id")
    due_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=_MAX_OUTCOME_LENGTH, blank=True, default="")

    objects = JobManager()

    def __str__(self) -> str:
        return self.name
