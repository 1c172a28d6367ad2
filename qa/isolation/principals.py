"""Everybody who calls upon the world, and what they show at the door."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts.models import User
from accounts.tokens import AccessToken
from chat.models import ChatSession
from chat.visitors import VisitorToken
from qa.isolation.callers import Caller, Kind, State
from qa.isolation.canaries import mark
from qa.isolation.tenant_fixtures import SHOP, actor, labels, person, talk
from tenants.models import ApiKey, Invitation, Tenant
from tenants.models.api_key import Scope

if TYPE_CHECKING:
    from qa.isolation.world import World

#: More than one tenant may have, fewer than all tenants have together.
MAX_API_KEYS = 7


def people(world: World) -> None:
    acme = world.acme.tenant
    for role in ("viewer", "developer", "admin"):
        user = person(f"acme-{role}2")
        acme.memberships.create(user=user, role=role)
        world.users[role] = user
        _welcome(world, _signed_in(role, user, role=role))
    _welcome(world, Caller("anonymous", Kind.NOBODY, belongs=False))
    _welcome(world, _signed_in("other admin", world.umbrella.admin, home="umbrella", role="admin"))
    _acquaint(world)
    former = person("former")
    acme.memberships.create(user=former, role="admin").remove(actor(world.acme.admin))
    _welcome(world, _signed_in("former member", former, belongs=False))
    lost = world.estates["initech"]
    world.lost_invitation_token = Invitation.objects.send(
        lost.tenant, email=former.email, role="viewer", by=actor(lost.admin)
    ).token
    inactive = person("inactive")
    acme.memberships.create(user=inactive, role="admin")
    _welcome(world, _signed_in("inactive user", inactive, role="admin", belongs=False, state=State.INACTIVE))
    inactive.is_active = False
    inactive.save()
    _welcome(world, _signed_in("staff", person("staff", is_staff=True), belongs=False))
    hooli, initech = world.estates["hooli"].admin, world.estates["initech"].admin
    suspended = {"home": "hooli", "role": "admin", "state": State.SUSPENDED}
    _welcome(world, _signed_in("suspended tenant's admin", hooli, **suspended))
    _welcome(
        world, _signed_in("deleted tenant's admin", initech, home="initech", role="admin", belongs=False)
    )


def _acquaint(world: World) -> None:
    """Have both admins administer one more tenant, from which they may add somebody to theirs."""
    acquaintance = world.users["acquaintance"] = person("acquaintance")
    common = Tenant.objects.create_with_admin(
        name="Common", plan=world.acme.tenant.plan, by=actor(acquaintance)
    )
    for admin in (world.users["admin"], world.umbrella.admin):
        common.memberships.create(user=admin, role="admin")


def keys(world: World) -> None:
    acme = world.acme.tenant
    now = timezone.now()

    def welcome(name: str, home: str = "acme", kind: str = "sk", **about: Any) -> ApiKey:
        scopes = about.pop("scopes", list(Scope.values) if kind == "sk" else [])
        fields = {name: about.pop(name) for name in ("expires_at", "revoked_at") if name in about}
        tenant = world.estates[home].tenant
        issued = ApiKey.objects.generate(
            tenant, kind=kind, environment="live", name=mark(home), scopes=scopes, **fields
        )
        public = kind == "pk"
        caller = Caller(
            name,
            Kind.PUBLIC_KEY if public else Kind.SECRET_KEY,
            home,
            issued.secret,
            scopes=tuple(scopes),
            origin=SHOP if public else "",
            **about,
        )
        _welcome(world, caller)
        return issued.key

    world.public_key = welcome("pk", kind="pk")
    welcome("sk")
    welcome("sk that reads sessions", scopes=["sessions:read"])
    welcome("sk of another tenant", "umbrella")
    unusable = {"state": State.UNUSABLE, "belongs": False}
    welcome("expired key", expires_at=now - timedelta(minutes=1), **unusable)
    welcome("revoked key", revoked_at=now - timedelta(minutes=1), **unusable)
    welcome("suspended tenant's key", "hooli", state=State.SUSPENDED)
    welcome("deleted tenant's key", "initech", **unusable)
    assert acme.api_keys.usable().count() < MAX_API_KEYS  # noqa: S101 - or issuing one would be refused


def visitors(world: World) -> None:
    for name, room, belongs in (("visitor", "visitor", True), ("other visitor", "stranger", False)):
        session = ChatSession.objects.create(
            tenant=world.acme.tenant, visitor=f"v_{room}", **labels(f"acme.{room}")
        )
        reply = talk(session, f"acme.{room}")
        world.estates[room] = replace(world.acme, session=session, reply=reply)
        _welcome(world, visiting(world, room, name=name, home="visitor", belongs=belongs))


def visiting(
    world: World,
    room: str,
    *,
    name: str = "visitor",
    home: str = "visitor",
    belongs: bool = True,
    **other: Any,
) -> Caller:
    """Return a visitor of the session in `room`; `other` has its pass say something else."""
    estate = world.estates[room]
    said = {
        "tenant_id": estate.tenant.pk,
        "key_id": world.public_key.pk,
        "session_id": estate.session.pk,
        "visitor": estate.session.visitor,
        "origin": SHOP,
    }
    token = VisitorToken(**said | other).encode()
    return Caller(name, Kind.VISITOR, home, token, belongs=belongs, origin=SHOP)


def _welcome(world: World, caller: Caller) -> None:
    world.callers[caller.name] = caller


def _signed_in(name: str, user: User, **about: Any) -> Caller:
    token = AccessToken.of_session(user.pk, uuid.uuid4().hex)
    return Caller(name, Kind.PERSON, credential=str(token), **about)
