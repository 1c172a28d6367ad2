"""Erasures: permanent deletion of conversations or tenants, and the proof of it.

An `Erasure` exists from the request until everything is deleted, however often the process dies. Deleted
documents are counted in the transaction that deletes them, so the counts are correct at any time. The last
step replaces it by an `ErasureManifest`, which is written once and does not identify the erased person.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Iterable
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

#: Documents deleted in one transaction.
BATCH = 1000

RawDocument = dict[str, Any]


class ErasureScope(models.TextChoices):
    SESSION = "session", "One session"
    VISITOR = "visitor", "One visitor"
    USER = "user", "One user's sessions in a tenant"
    CHAT = "chat", "All conversations of a tenant"
    RETENTION = "retention", "Conversations past their retention"
    TENANT = "tenant", "A deleted tenant with everything it owns"


class ErasureRecord(Document):
    """`removed` and `cleared` are `{collection: {"count", "first", "last"}}`, times in ISO 8601.

    Cleared documents are kept without their personal data. `tenant` is an id and not a foreign key: a record
    outlives its tenant.
    """

    tenant = ObjectIdField()
    scope = models.CharField(max_length=10, choices=ErasureScope)
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
        """Return the record as JSON values; `finished_at` is None while the erasure runs."""
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


class ErasureManager(models.Manager["Erasure"]):
    def begin(self, tenant_id: ObjectId, scope: ErasureScope, subject: object, by: Actor) -> Erasure:
        """Create the erasure, or return the unfinished one of the same subject."""
        name = str(subject)
        while True:
            if begun := self.filter(tenant=tenant_id, scope=scope, subject=name).first():
                return begun
            # Between the two another process may begin it, and even finish it.
            with contextlib.suppress(IntegrityError):
                return self.create(
                    tenant=tenant_id,
                    scope=scope,
                    subject=name,
                    subject_digest=digest_of(tenant_id, name),
                    asked_by=by.name,
                    asked_at=timezone.now(),
                )


class Erasure(ErasureRecord):
    """An unfinished erasure. `subject` is who or what is erased; it is deleted with this document."""

    subject = models.CharField(max_length=100, blank=True)

    objects = ErasureManager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["tenant", "scope", "subject"], name="one_erasure"),)

    def remove(self, documents: Collection[RawDocument], match: RawDocument) -> None:
        """Delete all documents that match, in transactions of at most `BATCH`. May be repeated."""
        while rows := _batch(documents, match):
            self._remove_batch(documents, rows)

    def _remove_batch(self, documents: Collection[RawDocument], rows: list[RawDocument]) -> None:
        def delete(session: ClientSession) -> None:
            count = documents.delete_many(_ids_of(rows), session=session).deleted_count
            self.add_to_counts(session, documents.name, count, _times_of(rows))

        _in_transaction(documents, delete)

    def clear(self, documents: Collection[RawDocument], match: RawDocument, values: RawDocument) -> None:
        """Set `values` on all documents that match. With these values they must not match any more."""
        while rows := _batch(documents, match):
            self._clear_batch(documents, rows, match, values)

    def _clear_batch(
        self,
        documents: Collection[RawDocument],
        rows: list[RawDocument],
        match: RawDocument,
        values: RawDocument,
    ) -> None:
        def update(session: ClientSession) -> None:
            matched = _ids_of(rows) | match
            count = documents.update_many(matched, {"$set": values}, session=session).modified_count
            self.add_to_counts(session, documents.name, count, _times_of(rows), field="cleared")

        _in_transaction(documents, update)

    def add_to_counts(
        self,
        session: ClientSession,
        documents: str,
        count: int,
        moments: Iterable[datetime],
        field: str = "removed",
    ) -> None:
        """Add to the counts of a collection, in the transaction that changes its documents."""
        if not count:
            return
        path, times = f"{field}.{documents}", sorted(_iso(moment) for moment in moments)
        change: RawDocument = {"$inc": {f"{path}.count": count}}
        if times:
            change |= {"$min": {f"{path}.first": times[0]}, "$max": {f"{path}.last": times[-1]}}
        Erasure.collection().update_one({"_id": self.pk}, change, session=session)

    def finish(self) -> ErasureManifest:
        """Replace this erasure by its manifest, without the subject, in one transaction."""

        def finish(session: ClientSession) -> None:
            done = Erasure.collection().find_one_and_delete({"_id": self.pk}, session=session)
            if done is None:  # Another process has finished the same erasure.
                return
            del done["subject"]
            now = timezone.now()
            ErasureManifest.collection().insert_one(
                {**done, "created_at": now, "updated_at": now}, session=session
            )

        _in_transaction(Erasure.collection(), finish)
        return ErasureManifest.objects.get(pk=self.pk)


class ErasureManifest(AppendOnly, ErasureRecord):
    """Proof of what an erasure removed.

    A request for the same subject has the same `subject_digest`, which does not identify the subject.
    """

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="erasure_newest"),)

    def data(self) -> dict[str, Any]:
        return {**super().data(), "finished_at": _iso(self.created_at)}


def digest_of(tenant_id: ObjectId, subject: str) -> str:
    """Return a keyed digest of a subject: without the key, names can't be tried until one matches."""
    return hmac.new(settings.SECRET_KEY.encode(), f"{tenant_id}\n{subject}".encode(), "sha256").hexdigest()


def _batch(documents: Collection[RawDocument], match: RawDocument) -> list[RawDocument]:
    return list(documents.find(match, {"created_at": 1}, limit=BATCH))


def _ids_of(rows: list[RawDocument]) -> RawDocument:
    return {"_id": {"$in": [row["_id"] for row in rows]}}


def _times_of(rows: list[RawDocument]) -> list[datetime]:
    return [row["created_at"] for row in rows if row.get("created_at")]


def _in_transaction(documents: Collection[RawDocument], change: Callable[[ClientSession], None]) -> None:
    with documents.database.client.start_session() as session:
        session.with_transaction(change)


def _iso(moment: datetime) -> str:
    """Return a time in ISO 8601, always of the same length: the texts sort as the times do."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
