"""The callers of routes below a tenant, and how each kind finds its access."""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from accounts.callers import UserCaller
from core.callers import Caller
from core.mongo.models import Document
from tenants.access.access import Access, require_active
from tenants.models import ApiKey, Membership
from tenants.models.membership import Role
from tenants.models.tenant import lookup_tenant, tenant_of


class TenantCaller(Caller):
    """A caller in tenants: which of them it can reach, and by which credential."""

    @property
    def is_public(self) -> bool:
        """Whether it calls from a web page: by a public key, or by the visitor's token that one gave."""
        return False

    @property
    def own_session_id(self) -> ObjectId | None:
        """The session that a visitor's token was given with, if any; None for all other kinds."""
        return None

    @property
    def known_access(self) -> Access | None:
        """The access that authentication has read already; None where it takes a query."""
        return None

    def own_access(self) -> Access | None:
        """Return the access to the one tenant that the credential belongs to; None for members of several.

        Raises as `access_from` does.
        """
        return self.known_access

    @abc.abstractmethod
    def access_to(self, tenant_id: ObjectId) -> Access | None:
        """Return the access to a tenant in at most one round trip; None if it is missing or foreign.

        Raises TenantSuspended.
        """

    @abc.abstractmethod
    def reach(self, session_id: ObjectId) -> dict[str, Any] | None:
        """Return the condition that finds a session within the caller's reach; None if it is out of reach."""

    @abc.abstractmethod
    def lookup_credential(self) -> list[dict[str, Any]]:
        """Return the stages that add to a document of a tenant what `access_from` needs.

        Documents drop out for which the credential no longer exists.
        """

    @abc.abstractmethod
    def access_from(self, document: Mapping[str, Any]) -> Access:
        """Return the access to the tenant of a document that `reach` and `lookup_credential` found.

        Raises TenantSuspended, and AuthenticationFailed for a credential that is no longer valid.
        """


@dataclass(frozen=True)
class MemberCaller(UserCaller, TenantCaller):
    """A signed-in user. The credential is the membership, read at every request."""

    def access_to(self, tenant_id: ObjectId) -> Access | None:
        stages = [{"$match": {"user_id": self.user.pk, "tenant_id": tenant_id}}, *lookup_tenant("tenant_id")]
        for document in Membership.collection().aggregate(stages):
            return self._access(document, document)
        return None

    def reach(self, session_id: ObjectId) -> dict[str, Any]:
        return {"_id": session_id}

    def lookup_credential(self) -> list[dict[str, Any]]:
        return lookup_credential(Membership, {"user_id": self.user.pk})

    def access_from(self, document: Mapping[str, Any]) -> Access:
        return self._access(document, document["credential"])

    def _access(self, document: Mapping[str, Any], membership: Mapping[str, Any]) -> Access:
        tenant = tenant_of(document)
        require_active(tenant)
        role = Role(membership["role"])
        return Access(tenant, role=role, user=self.user, login_session=self.login_session)


@dataclass(frozen=True)
class KeyCaller(TenantCaller):
    """An API key, which authentication has read with its tenant: its access costs no further query.

    `network` is where the request comes from: with a public key one visitor of a site must not use up the
    rate of all others.
    """

    key: ApiKey
    network: str
    origin: str = ""
    address: str = ""

    @functools.cached_property
    def access(self) -> Access:
        return Access(self.key.tenant, key=self.key, origin=self.origin, address=self.address)

    @property
    def rate_key(self) -> str:
        return f"key:{self.key.pk}:{self.network}" if self.key.is_public else f"key:{self.key.pk}"

    @property
    def rate_scope(self) -> str:
        return "address" if self.key.is_public else "key"

    @property
    def budget_key(self) -> str:
        return f"tenant:{self.key.tenant.pk}"

    @property
    def is_shared(self) -> bool:
        return self.key.is_public

    @property
    def is_public(self) -> bool:
        return self.key.is_public

    @property
    def actor_name(self) -> str:
        return self.key.prefix

    @property
    def actor_key_id(self) -> ObjectId:
        key_id: ObjectId = self.key.pk
        return key_id

    @property
    def known_access(self) -> Access:
        return self.access

    def access_to(self, tenant_id: ObjectId) -> Access | None:
        return self.access if self.key.tenant.pk == tenant_id else None

    def reach(self, session_id: ObjectId) -> dict[str, Any] | None:
        if self.key.is_public:  # it opens sessions; only the visitor's token gives access to one
            return None
        return {"_id": session_id, "tenant_id": self.key.tenant.pk}

    def lookup_credential(self) -> list[dict[str, Any]]:
        return []

    def access_from(self, document: Mapping[str, Any]) -> Access:
        return self.access


def lookup_credential(source: type[Document], condition: dict[str, Any]) -> list[dict[str, Any]]:
    """Return stages that join to a document its tenant, and as `credential` the tenant's match in `source`.

    The credential comes first: a foreign document then takes hardly longer than a missing one.
    """
    return [
        {
            "$lookup": {
                "from": source._meta.db_table,
                "localField": "tenant_id",
                "foreignField": "tenant_id",
                "pipeline": [{"$match": condition}],
                "as": "credential",
            }
        },
        {"$unwind": "$credential"},
        *lookup_tenant("tenant_id"),
    ]
