"""Creates the callers of the dataset: users, API keys and visitors."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts.models import User
from accounts.tokens import AccessToken
from chat.models import ChatSession
from chat.visitor_identity import VisitorIdentity
from chat.visitors import VisitorToken
from qa.isolation.callers import Caller, Kind, State
from qa.isolation.canaries import canary
from qa.isolation.tenant_fixtures import SHOP, actor, add_exchanges, create_user, session_texts
from tenants.models import ApiKey, Invitation, Tenant
from tenants.models.api_key import Scope

if TYPE_CHECKING:
    from qa.isolation.dataset import Dataset

#: More than one tenant may have, fewer than all tenants have together.
MAX_API_KEYS = 7


def add_users(dataset: Dataset) -> None:
    _register(dataset, Caller("anonymous", Kind.ANONYMOUS, has_access=False))
    _register(dataset, _signed_in("other admin", dataset.umbrella.admin, home="umbrella", role="admin"))
    _register(dataset, _signed_in("staff", create_user("staff", is_staff=True), has_access=False))
    _add_members(dataset)
    _add_common_tenant(dataset)
    _add_former_member(dataset)
    _add_inactive_user(dataset)
    suspended, deleted = dataset.fixtures["hooli"].admin, dataset.fixtures["initech"].admin
    _register(
        dataset,
        _signed_in("suspended tenant's admin", suspended, home="hooli", role="admin", state=State.SUSPENDED),
    )
    _register(
        dataset, _signed_in("deleted tenant's admin", deleted, home="initech", role="admin", has_access=False)
    )


def _add_members(dataset: Dataset) -> None:
    for role in ("viewer", "developer", "admin"):
        user = dataset.users[role] = create_user(f"acme-{role}2")
        dataset.acme.tenant.memberships.create(user=user, role=role)
        _register(dataset, _signed_in(role, user, role=role))


def _add_common_tenant(dataset: Dataset) -> None:
    """Make both admins administer one more tenant, whose members they may add to theirs."""
    fellow = dataset.users["fellow member"] = create_user("fellow-member")
    common = Tenant.objects.create_with_admin(name="Common", plan=dataset.acme.tenant.plan, by=actor(fellow))
    for admin in (dataset.users["admin"], dataset.umbrella.admin):
        common.memberships.create(user=admin, role="admin")


def _add_former_member(dataset: Dataset) -> None:
    former = dataset.users["former member"] = create_user("former")
    membership = dataset.acme.tenant.memberships.create(user=former, role="admin")
    membership.remove(actor(dataset.acme.admin))
    _register(dataset, _signed_in("former member", former, has_access=False))
    deleted = dataset.fixtures["initech"]
    dataset.deleted_tenants_invitation_token = Invitation.objects.send(
        deleted.tenant, email=former.email, role="viewer", by=actor(deleted.admin)
    ).token


def _add_inactive_user(dataset: Dataset) -> None:
    inactive = create_user("inactive")
    dataset.acme.tenant.memberships.create(user=inactive, role="admin")
    caller = _signed_in("inactive user", inactive, role="admin", has_access=False, state=State.INACTIVE)
    _register(dataset, caller)
    inactive.update(is_active=False)


def add_keys(dataset: Dataset) -> None:
    now = timezone.now()
    unusable: dict[str, Any] = {"state": State.UNUSABLE, "has_access": False}
    dataset.public_key = _add_key(dataset, "pk", kind="pk")
    _add_key(dataset, "sk")
    _add_key(dataset, "sk that reads sessions", scopes=["sessions:read"])
    _add_key(dataset, "sk of another tenant", "umbrella")
    _add_key(dataset, "expired key", expires_at=now - timedelta(minutes=1), **unusable)
    _add_key(dataset, "revoked key", revoked_at=now - timedelta(minutes=1), **unusable)
    _add_key(dataset, "suspended tenant's key", "hooli", state=State.SUSPENDED)
    _add_key(dataset, "deleted tenant's key", "initech", **unusable)
    # Otherwise issuing one would be refused.
    assert dataset.acme.tenant.api_keys.usable().count() < MAX_API_KEYS  # noqa: S101


def _add_key(
    dataset: Dataset,
    name: str,
    home: str = "acme",
    *,
    kind: str = "sk",
    scopes: list[str] | None = None,
    state: State = State.VALID,
    has_access: bool = True,
    **dates: Any,
) -> ApiKey:
    """Issue a key and register its caller. `scopes` None are all; `dates` are fields of the key."""
    is_public = kind == "pk"
    if scopes is None:
        scopes = [] if is_public else list(Scope.values)
    issued = ApiKey.objects.generate(
        dataset.fixtures[home].tenant,
        kind=kind,
        environment="live",
        name=canary(home),
        scopes=scopes,
        **dates,
    )
    caller = Caller(
        name,
        Kind.PUBLIC_KEY if is_public else Kind.SECRET_KEY,
        home,
        issued.secret,
        scopes=tuple(scopes),
        has_access=has_access,
        state=state,
        origin=SHOP if is_public else "",
    )
    _register(dataset, caller)
    return issued.key


def add_visitors(dataset: Dataset) -> None:
    for name, owner, has_access in (("visitor", "visitor", True), ("other visitor", "stranger", False)):
        session = ChatSession.objects.create(
            tenant=dataset.acme.tenant, visitor=f"v_{owner}", **session_texts(f"acme.{owner}")
        )
        reply = add_exchanges(session, f"acme.{owner}")
        dataset.fixtures[owner] = replace(dataset.acme, session=session, reply=reply)
        _register(dataset, visitor_caller(dataset, owner, name=name, has_access=has_access))


def visitor_caller(
    dataset: Dataset,
    owner: str,
    *,
    name: str = "visitor",
    has_access: bool = True,
    **claims: Any,
) -> Caller:
    """Return the visitor of the session in the fixtures of `owner`; `claims` replace those of its token."""
    fixtures = dataset.fixtures[owner]
    visitor, tenant_id = fixtures.session.visitor, fixtures.tenant.pk
    own = {
        "identity_id": VisitorIdentity.objects.keep(tenant_id, visitor, dataset.public_key.pk, SHOP),
        "tenant_id": tenant_id,
        "key_id": dataset.public_key.pk,
        "session_id": fixtures.session.pk,
        "visitor": visitor,
        "origin": SHOP,
    }
    token = VisitorToken(**own | claims).encode()
    return Caller(name, Kind.VISITOR, "visitor", token, has_access=has_access, origin=SHOP)


def _register(dataset: Dataset, caller: Caller) -> None:
    dataset.callers[caller.name] = caller


def _signed_in(name: str, user: User, **fields: Any) -> Caller:
    token = AccessToken.of_session(user.pk, uuid.uuid4().hex)
    return Caller(name, Kind.USER, credential=str(token), is_staff=user.is_staff, **fields)
