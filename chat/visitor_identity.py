"""What a visitor's tokens stand for, until the visitor stays away or it is revoked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from bson import ObjectId
from django.conf import settings
from django.db import models
from django.utils import timezone
from django_mongodb_backend.fields import ObjectIdField
from pymongo import ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError

from core.mongo.indexes import TTLIndex
from core.mongo.models import Document
from tenants.models import Tenant

#: The use of an identity is recorded at most once in this time, or in a tenth of its lifetime.
_USE_INTERVAL = timedelta(minutes=1)

#: What an identity takes in the database, at most.
IDENTITY_BYTES = 1024

_UNACKNOWLEDGED = WriteConcern(w=0)


class VisitorIdentityQuerySet(models.QuerySet["VisitorIdentity"]):
    def of_visitor(self, tenant_id: ObjectId, visitor: str) -> VisitorIdentityQuerySet:
        return self.filter(tenant=tenant_id, visitor=visitor)

    def live(self) -> VisitorIdentityQuerySet:
        return self.filter(expires_at__gt=timezone.now())

    def keep(self, tenant_id: ObjectId, visitor: str, key_id: ObjectId, origin: str) -> ObjectId:
        """Return the id of the visitor's identity for this key and origin, created by its first use.

        One that has expired is replaced, so that its tokens stay invalid.
        """
        now = timezone.now()
        subject = {"tenant_id": tenant_id, "visitor": visitor, "api_key": key_id, "origin": origin}
        while True:
            try:
                document = self.model.collection().find_one_and_update(
                    {**subject, "expires_at": {"$gt": now}},
                    {
                        "$set": {"expires_at": now + lifetime(), "updated_at": now},
                        "$setOnInsert": {"created_at": now},
                    },
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:  # an expired one, which the database has not deleted yet
                self.model.collection().delete_one({**subject, "expires_at": {"$lte": now}})
            else:
                # An upsert always returns one.
                return cast(ObjectId, cast(dict[str, Any], document)["_id"])


class VisitorIdentity(Document):
    """A visitor at one origin, by the key that vouched for it: a public key, or that of the site's server.

    Its tokens are valid while it exists and `expires_at` has not passed, which each use moves. Deleting it
    revokes them. `visitor` is what its sessions name.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    tenant_id: ObjectId
    visitor = models.CharField(max_length=100)
    api_key = ObjectIdField()
    origin = models.CharField(max_length=300, blank=True, default="")
    expires_at = models.DateTimeField()

    objects = VisitorIdentityQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "visitor identities"
        indexes = [TTLIndex(fields=["expires_at"], name="visitor_ttl")]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "visitor", "api_key", "origin"], name="visitor_once")
        ]

    def __str__(self) -> str:
        return self.visitor

    @property
    def is_live(self) -> bool:
        return self.expires_at > timezone.now()

    def record_use(self) -> None:
        """Move `expires_at`, without waiting for the database: a lost update does no harm."""
        expires_at = timezone.now() + lifetime()
        if expires_at - self.expires_at < min(_USE_INTERVAL, lifetime() / 10):
            return
        self.collection().with_options(write_concern=_UNACKNOWLEDGED).update_one(
            {"_id": self.pk}, {"$max": {"expires_at": expires_at}}
        )


def lookup_identity(identity_id: ObjectId) -> list[dict[str, Any]]:
    """Return the stage that joins an identity as `identity`, an empty list if it is revoked."""
    return [
        {
            "$lookup": {
                "from": VisitorIdentity._meta.db_table,
                "pipeline": [{"$match": {"_id": identity_id}}],
                "as": "identity",
            }
        }
    ]


def lifetime() -> timedelta:
    """Return for how long an identity is kept without being used."""
    return timedelta(seconds=settings.VISITOR_TOKEN_SECONDS)


def identity_of(document: Mapping[str, Any]) -> VisitorIdentity | None:
    """Return the live identity of a document that `lookup_identity` joined."""
    found = document.get("identity") or []
    identity = VisitorIdentity.from_document(found[0]) if found else None
    return identity if identity is not None and identity.is_live else None
