"""What one caller may do in one tenant."""

from __future__ import annotations

from dataclasses import dataclass

from bson import ObjectId

from accounts.models import User
from core.errors import Forbidden
from tenants.access.rights import Right
from tenants.models import ApiKey, Tenant
from tenants.models.membership import Role


@dataclass(frozen=True, slots=True)
class Access:
    """A caller in one tenant: a member (`role`, `user`), a `key`, or a `visitor` by way of a public `key`.

    Read from the database at every request. `tenant.plan` is loaded. `login_session` is a member's,
    `origin` and `address` are where a key or visitor calls from, `identity_id` is what a visitor's token
    stands for: what ends them ends the access.
    """

    tenant: Tenant
    role: Role | None = None
    user: User | None = None
    key: ApiKey | None = None
    visitor: str | None = None
    identity_id: ObjectId | None = None
    login_session: str = ""
    origin: str = ""
    address: str = ""

    @property
    def is_public(self) -> bool:
        """Whether it is used from a web page: by a public key, or by the visitor's token that one gave."""
        return self.visitor is not None or (self.key is not None and self.key.is_public)

    def may(self, right: Right) -> bool:
        if self.role is not None:
            return right.role is not None and self.role.includes(right.role)
        if self.is_public and not right.visitor:
            return False
        if self.key is None or self.key.is_public:
            return self.is_public
        # A visitor of the site's server has no more rights than the server's key.
        return right.scope is not None and right.scope in self.key.scopes


class TenantSuspended(Forbidden):
    """The `tenant` that the caller belongs to."""

    default_detail = "This tenant is suspended. Ask the platform's staff."
    default_code = "tenant_suspended"

    def __init__(self, tenant: Tenant) -> None:
        super().__init__()
        self.tenant = tenant


def require_active(tenant: Tenant) -> None:
    """Raise TenantSuspended. Only for callers who are known to belong to the tenant."""
    if tenant.is_suspended:
        raise TenantSuspended(tenant)
