"""A caller's access to one tenant, read from the database at every request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request

from accounts.models import User
from core.mongo.ids import object_id
from tenants.models import ApiKey, Membership, Tenant
from tenants.models.membership import Role
from tenants.models.tenant import lookup_tenant, tenant_of
from tenants.rights import Right

__all__ = ["Access", "TenantSuspended", "access_to", "lookup_tenant", "refuse_suspended", "tenant_of"]


@dataclass(slots=True)
class Access:
    """A caller in one tenant: a member (`role`, `user`), a `key`, or a `visitor` of the tenant's site.

    `tenant.plan` is loaded. `rate_key` is whom core.api.throttling counts; None for users.
    """

    tenant: Tenant
    role: str | None = None
    user: User | None = None
    key: ApiKey | None = None
    visitor: str | None = None
    rate_key: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether many people hold the same credential, as the visitors of a page do its public key."""
        return self.key is not None and self.key.is_public and self.visitor is None

    def may(self, right: Right) -> bool:
        if self.role is not None:
            return Role(self.role).includes(right.role)
        if self.visitor is not None or (self.key is not None and self.key.is_public):
            return right.visitor
        return self.key is not None and right.scope is not None and right.scope in self.key.scopes


def access_to(request: Request, tenant_id: object) -> Access:
    """Return the caller's access to a tenant, in one round trip for users and none for keys.

    Raises NotFound for a tenant that is missing, deleted, malformed or foreign, all alike, and
    TenantSuspended.
    """
    wanted = object_id(tenant_id)
    if wanted is None:
        raise NotFound
    if isinstance(request.auth, Access):
        access = request.auth if request.auth.tenant.pk == wanted else None
    else:
        access = _membership_access(request.user, wanted)
    if access is None:
        raise NotFound
    refuse_suspended(access.tenant)
    getattr(request, "log_fields", {})["tenant"] = str(wanted)
    return access


class TenantSuspended(PermissionDenied):
    """The `tenant` that the caller belongs to."""

    default_detail = "This tenant is suspended. Ask the platform's staff."
    default_code = "tenant_suspended"

    def __init__(self, tenant: Tenant) -> None:
        super().__init__()
        self.tenant = tenant


def refuse_suspended(tenant: Tenant) -> None:
    """Raise TenantSuspended. Only for callers who are known to belong to the tenant."""
    if tenant.is_suspended:
        raise TenantSuspended(tenant)


def _membership_access(user: Any, tenant_id: ObjectId) -> Access | None:
    if not user.is_authenticated:
        return None
    stages = [{"$match": {"user_id": user.pk, "tenant_id": tenant_id}}, *lookup_tenant("tenant_id")]
    for row in Membership.collection().aggregate(stages):
        return Access(tenant_of(row), role=row["role"], user=user)
    return None
