"""Erasures: what is being removed, and for good what was.

An `Erasure` stands from the moment it is asked for until all of it is done, however often its process
dies. What it removes is noted in the same transaction, so its counts are true at every instant.
Its last step turns it into an `ErasureManifest`, which is written once and names nobody who was erased.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bson import ObjectId
from django.conf import settings
from django.db import IntegrityError, models
from django.utils import timezone
from django_mongodb_backend.fields import ObjectIdField
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from core.audit.models import Actor
from core.mongo.append_only import AppendOnly, AppendOnlyQuerySet
from core.mongo.models import Document

BATCH = 1000


class Scope(models.TextChoices):
    SESSION = "session", "One session"
    VISITOR = "visitor", "One visitor"
    USER = "user", "One user's sessions in a tenant"
    CHAT = "chat", "All conversations of a tenant"
    RETENTION = "retention", "Conversations kept long enough"
    TENANT = "tenant", "A deleted tenant with all it owns"


class Record(Document):
    """`removed` and `cleared` are `{collection: {"count", "first", "last"}}`, the times in ISO 8601.

    Cleared documents stay without what named the person. `tenant` is no reference, so that a record
    outlives its tenant.
    """

    tenant = ObjectIdField()
    scope = models.CharField(max_length=10, choices=Scope)
    subject_digest = models.CharField(max_length=64)
    asked_by = models.CharField(max_length=254)
    asked_at = models.DateTimeField()
    removed = models.JSONField(default=dict)
    cleared = models.JSONField(default=dict)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.scope} of {self.tenant}, {self.asked_at:%Y-%m-%d %H:%M}"

    def data(self) -> dict[str, Any]:
        """Return the record as JSON can hold it; `finished_at` is None while the erasure is under way."""
        return {
            "id": str(self.pk),
            "tenant_id": str(self.tenant),
            "scope": self.scope,
            "subject_digest": self.subject_digest,
            "asked_by": self.asked_by,
            "asked_at": _iso(self.asked_at),
            "finished_at": None,
            "removed": self.removed,
            "cleared": self.cleared,
        }


class ErasureManager(models.Manager):
    def begin(self, tenant_id: ObjectId, scope: Scope, subject: object, by: Actor) -> Erasure:
        """Return the erasure, on record from now on; the one under way if it was asked for before."""
        name = str(subject)
        try:
            return self.create(
                tenant=tenant_id,
                scope=scope,
                subject=name,
                subject_digest=digest_of(tenant_id, name),
                asked_by=by.name,
                asked_at=timezone.now(),
            )
        except IntegrityError:
            return self.get(tenant=tenant_id, scope=scope, subject=name)


class Erasure(Record):
    """One that is under way. `subject` says who or what is erased, and goes with this document."""

    subject = models.CharField(max_length=100, blank=True)

    objects = ErasureManager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["tenant", "scope", "subject"], name="one_erasure"),)

    def remove(self, documents: Collection, match: dict[str, Any]) -> None:
        """Delete all documents that match, in bounded transactions. Repeatable."""
        while rows := list(documents.find(match, {"created_at": 1}, limit=BATCH)):
            ids = {"_id": {"$in": [row["_id"] for row in rows]}}

            def delete(session: ClientSession, ids: dict = ids, rows: list = rows) -> None:
                count = documents.delete_many(ids, session=session).deleted_count
                moments = [row["created_at"] for row in rows if row.get("created_at")]
                self.note(session, documents.name, count, moments)

            _in_transaction(documents, delete)

    def clear(self, documents: Collection, match: dict[str, Any], values: dict[str, Any]) -> None:
        """Give all documents that match other `values`, with which they match no more."""
        while rows := list(documents.find(match, {"created_at": 1}, limit=BATCH)):
            ids = {"_id": {"$in": [row["_id"] for row in rows]}}

            def update(session: ClientSession, ids: dict = ids, rows: list = rows) -> None:
                count = documents.update_many(ids | match, {"$set": values}, session=session).modified_count
                moments = [row["created_at"] for row in rows]
                self.note(session, documents.name, count, moments, field="cleared")

            _in_transaction(documents, update)

    def note(
        self,
        session: ClientSession,
        documents: str,
        count: int,
        moments: Iterable[datetime],
        field: str = "removed",
    ) -> None:
        """Add to the counts, in the transaction that makes them true."""
        if not count:
            return
        path, times = f"{field}.{documents}", sorted(_iso(moment) for moment in moments)
        change: dict[str, Any] = {"$inc": {f"{path}.count": count}}
        if times:
            change |= {"$min": {f"{path}.first": times[0]}, "$max": {f"{path}.last": times[-1]}}
        Erasure.collection().update_one({"_id": self.pk}, change, session=session)

    def finish(self) -> ErasureManifest:
        """Write the manifest and forget the subject, in one transaction."""

        def finish(session: ClientSession) -> None:
            done = Erasure.collection().find_one_and_delete({"_id": self.pk}, session=session)
            if done is None:  # Another process did the same work and was faster.
                return
            del done["subject"]
            now = timezone.now()
            ErasureManifest.collection().insert_one(
                {**done, "created_at": now, "updated_at": now}, session=session
            )

        _in_transaction(Erasure.collection(), finish)
        return ErasureManifest.objects.get(pk=self.pk)


class ErasureManifest(AppendOnly, Record):
    """What an erasure removed. Whoever asks for the same subject again can be shown that it was done:
    the digest is equal, and names nobody.
    """

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="erasure_newest"),)

    def data(self) -> dict[str, Any]:
        return {**super().data(), "finished_at": _iso(self.created_at)}


def digest_of(tenant_id: ObjectId, subject: str) -> str:
    """Return what stands for a subject: nobody without our key can try names until one fits."""
    return hmac.new(settings.SECRET_KEY.encode(), f"{tenant_id}\n{subject}".encode(), "sha256").hexdigest()


def _in_transaction(documents: Collection, change: Any) -> None:
    with documents.database.client.start_session() as session:
        session.with_transaction(change)


def _iso(moment: datetime) -> str:
    """All of one length, so that they sort as the times they are."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
