"""When each job is due, which process runs it, and what failed in jobs and is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db import models
from django.utils import timezone
from django_mongodb_backend.fields import ObjectIdField

from core.mongo.indexes import TTLIndex
from core.mongo.models import Document
from core.time import now_in_milliseconds

#: How long a killed process keeps its job from the others; a running one renews its claim.
CLAIM = timedelta(seconds=60)

#: When a failed job is retried, unless it is due sooner.
RETRY = timedelta(minutes=5)

_MAX_OUTCOME_LENGTH = 500
MAX_MEMBER_LENGTH = 120

#: The delay after the first failure of a member that was set aside; it doubles with each further one.
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=6)

#: At most so many members of one work are kept apart from the others.
MAX_SET_ASIDE = 1000


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


class SetAsideManager(models.Manager["SetAside"]):
    def of(self, work: str) -> dict[str, SetAside]:
        """Return the members of `work` that are set aside, by their key; the newest MAX_SET_ASIDE."""
        rows = self.model.collection().find({"work": work}, sort=[("_id", -1)], limit=MAX_SET_ASIDE)
        return {row["member"]: self.model.from_document(row) for row in rows}

    def waiting(self, *works: str) -> list[str]:
        """Return the keys of the members of `works` that are not due, at most MAX_SET_ASIDE."""
        waiting = {"work": {"$in": works}, "due_at": {"$gt": timezone.now()}}
        rows = self.model.collection().find(waiting, {"member": 1}, sort=[("_id", -1)], limit=MAX_SET_ASIDE)
        return [row["member"] for row in rows]

    def record(self, work: str, member: str, reason: str, tenant_id: ObjectId | None) -> datetime:
        """Count a failure of a member; return when it is to be tried again."""
        now = now_in_milliseconds()
        member, rows = member[:MAX_MEMBER_LENGTH], self.model.collection()
        row: Any = rows.find_one_and_update(
            {"work": work, "member": member},
            {
                "$inc": {"attempts": 1},
                "$set": {"reason": reason[:_MAX_OUTCOME_LENGTH], "updated_at": now},
                "$setOnInsert": {"tenant_id": tenant_id, "created_at": now, "due_at": now},
            },
            upsert=True,
            return_document=True,
        )
        due_at: datetime = now + min(FIRST_DELAY * 2 ** min(row["attempts"] - 1, 20), LONGEST_DELAY)
        rows.update_one({"_id": row["_id"]}, {"$set": {"due_at": due_at}})
        return due_at

    def clear(self, work: str, member: str) -> None:
        """Forget a member that was served, or is gone."""
        self.model.collection().delete_one({"work": work, "member": member[:MAX_MEMBER_LENGTH]})


class SetAside(Document):
    """A member of shared work that failed `attempts` times and is tried again from `due_at` on.

    `work` is a job, or the settlement of turns; `member` what failed in it, such as a reply's or tenant's id.
    """

    work = models.CharField(max_length=60)
    member = models.CharField(max_length=MAX_MEMBER_LENGTH)
    tenant_id = ObjectIdField(null=True, blank=True)
    attempts = models.IntegerField(default=0)
    reason = models.CharField(max_length=_MAX_OUTCOME_LENGTH)
    due_at = models.DateTimeField()

    objects = SetAsideManager()

    class Meta:
        verbose_name = "member set aside"
        verbose_name_plural = "members set aside"
        constraints = (models.UniqueConstraint(fields=["work", "member"], name="set_aside_once"),)
        # Far longer than the longest delay: one that is not tried any more is gone.
        indexes = (TTLIndex(fields=["updated_at"], name="set_aside_ttl", expire_after_seconds=14 * 86400),)

    def __str__(self) -> str:
        return f"{self.work}: {self.member}"

    @property
    def is_due(self) -> bool:
        return self.due_at <= timezone.now()
