"""When each job is due, and which process has it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models

from core.mongo.models import Document
from core.time import now_in_milliseconds

#: How long a process that was killed keeps a job from the others; those alive renew their claims.
CLAIM = timedelta(seconds=60)

#: A job that failed is tried again after so long, or when it is due, if that is sooner.
RETRY = timedelta(minutes=5)

_LONGEST_OUTCOME = 500


class JobManager(models.Manager):
    def claim(self, name: str) -> datetime | None:
        """Make the job this process's own if it is due and nobody has it.

        Return the moment of that, by which it is renewed and finished, else None. A job that nobody has
        seen yet is due at once.
        """
        now = now_in_milliseconds()
        fresh = {"due_at": now, "claimed_until": None, "started_at": None, "finished_at": None, "outcome": ""}
        jobs = self.model.collection()
        jobs.update_one(
            {"_id": name}, {"$setOnInsert": {**fresh, "created_at": now, "updated_at": now}}, upsert=True
        )
        # Nobody's are also those without a claim: null is not greater than any time.
        due = {"_id": name, "due_at": {"$lte": now}, "claimed_until": {"$not": {"$gt": now}}}
        claimed = jobs.update_one(due, {"$set": {"claimed_until": now + CLAIM, "started_at": now}})
        return now if claimed.modified_count else None

    def renew(self, name: str, claim: datetime) -> None:
        self._change(name, claim, claimed_until=now_in_milliseconds() + CLAIM)

    def finish(self, name: str, claim: datetime, every: timedelta, error: str = "") -> None:
        """Note how the job ended; it is due again `every` after it began."""
        again = min(every, RETRY) if error else every
        self._change(
            name,
            claim,
            due_at=claim + again,
            claimed_until=None,
            finished_at=now_in_milliseconds(),
            outcome=error[:_LONGEST_OUTCOME] or "done",
        )

    def give_back(self, name: str, claim: datetime) -> None:
        """Let go of a job that was not finished; it is due at once."""
        self._change(name, claim, claimed_until=None)

    def _change(self, name: str, claim: datetime, **fields: object) -> None:
        self.model.collection().update_one(
            {"_id": name, "started_at": claim}, {"$set": {**fields, "updated_at": now_in_milliseconds()}}
        )


class Job(Document):
    """One command of `settings.JOBS`; `outcome` is "done", or how its last run failed."""

    name = models.CharField(max_length=60, primary_key=True, db_column="_id")
    due_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=_LONGEST_OUTCOME, blank=True, default="")

    objects = JobManager()

    def __str__(self) -> str:
        return self.name
