"""The demo tenant with a user and a key, so that a new installation can be tried at once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from accounts.models import User
from config.launch.conversation import SYSTEM_PROMPT
from tenants.models import ApiKey, Plan, Tenant
from tenants.models.api_key import Scope

EMAIL = "demo@example.com"
NAME = "Demo"


@dataclass(frozen=True)
class Demo:
    """The demo's credentials. `password` and `key` are "" if they existed already: only hashes are stored."""

    tenant: Tenant
    password: str = ""
    key: str = ""


def ensure_demo(*, renew: bool = False) -> Demo | None:
    """Return the demo, created if it does not exist; with `renew` it gets a new password and key.

    None if staff have deleted it. The password is set last: without a usable one an earlier run
    was stopped half-way, and this one completes it.
    """
    user = User.objects.filter(email=EMAIL).first()
    user = user or User.objects.create_superuser(EMAIL, name=NAME)
    exists = user.has_usable_password()
    by = user.as_actor()
    tenant = _tenant_of(user)
    if exists and (tenant is None or not renew):
        return Demo(tenant) if tenant else None
    tenant = tenant or Tenant.objects.create_with_admin(
        name=NAME, plan=Plan.objects.get(code="pro"), by=by, system_prompt=SYSTEM_PROMPT
    )
    for earlier in tenant.api_keys.usable().filter(name=NAME):
        earlier.revoke(by)
    issued = ApiKey.objects.issue(
        tenant, by=by, name=NAME, kind="sk", environment="test", scopes=Scope.values
    )
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save()
    return Demo(tenant, password, issued.secret)


def _tenant_of(user: User) -> Tenant | None:
    tenants = list(user.memberships.values_list("tenant_id", flat=True))
    return Tenant.objects.present().filter(pk__in=tenants, name=NAME).order_by("created_at").first()
