"""A small world of tenants, each furnished alike, and everybody who calls.

Every text that a tenant owns carries its *mark*, and Umbrella's figures begin like no other number, so
that one look at an answer tells whose documents went into it.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from bson import ObjectId
from django.apps import apps
from django.db.models import Model
from django.utils import timezone

from accounts.models import User
from accounts.tokens import AccessToken
from chat.analytics.models import RollupCoverage
from chat.models import ChatSession, Message
from chat.visitors import VisitorPass
from config.isolation.callers import Caller, Kind, State
from config.mongo.models import Document
from tenants.models import ApiKey, Erasure, ErasureManifest, Invitation, Plan, Tenant, Usage, Webhook
from tenants.models.api_key import Scope
from tenants.models.audit import Actor
from tenants.models.erasure import Scope as ErasureScope
from tenants.models.limits import month_of
from tenants.models.webhook import MOST_WEBHOOKS, Event

SHOP = "https://shop.example"

#: An address that every tenant has invited.
INVITED_EVERYWHERE = "invited@example.com"

#: More than one tenant may have, fewer than all tenants have together.
MAX_API_KEYS, MAX_MEMBERS = 7, 9
MAX_INPUT_CHARS = 2000

#: When people talked: there are whole days, weeks and months of figures since.
LONG_AGO = timedelta(days=70)

#: A visitor of that name is being erased by every tenant; the other one by Umbrella alone.
LEAVING, LEAVING_UMBRELLA = "v_leaving", "v_leaving_umbrella"

#: Umbrella's figures, and sums with little else in them, begin so.
_FIGURE = 77_700_000
_FIGURES = re.compile(r"(?<![\w.-])777\d{5}(?![\w-])")
FIGURES = "umbrella.figures"
_MARKS = re.compile(r"7f3a-([a-z.]+)-e9c5")


def mark(owner: str) -> str:
    return f"7f3a-{owner}-e9c5"


def since() -> str:
    """Return the day from which on analytics show everything."""
    return str((timezone.now() - LONG_AGO - timedelta(days=35)).date())


def owners_in(text: str) -> set[str]:
    """Return whose marks and figures a text shows."""
    return set(_MARKS.findall(text)) | ({FIGURES} if _FIGURES.search(text) else set())


@dataclass(frozen=True)
class Estate:
    """What ids may name: the objects of one tenant, or of one visitor in it.

    `reply` has failed, so that it can be retried; `member` is nobody's caller.
    """

    tenant: Tenant
    admin: User
    member: User
    invitation: Invitation
    invitation_token: str
    key: ApiKey
    webhook: Webhook
    erasure: ErasureManifest
    visitor: str
    session: ChatSession
    reply: Message

    def id_of(self, parameter: str) -> ObjectId | str:
        """Return the id for a parameter of a path or a body."""
        if parameter == "visitor_id":
            return self.visitor
        owner = {"tenant_id": "tenant", "user_id": "member"}.get(parameter, parameter.removesuffix("_id"))
        return getattr(self, {"message": "reply"}.get(owner, owner)).pk


@dataclass
class World:
    estates: dict[str, Estate] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    public_key: ApiKey | None = None
    #: Would make "former member" a member of Initech, which is deleted.
    lost_invitation_token: str = ""
    #: A session of Acme with a message that says it is Umbrella's, as no code of ours leaves one.
    muddled: ChatSession | None = None

    def __getitem__(self, name: str) -> Caller:
        return self.callers[name]

    @property
    def acme(self) -> Estate:
        return self.estates["acme"]

    @property
    def umbrella(self) -> Estate:
        return self.estates["umbrella"]

    def own(self, caller: Caller) -> Estate:
        return self.estates[caller.home]

    def foreign(self, caller: Caller) -> Estate:
        return self.acme if caller.home == "umbrella" else self.umbrella

    def marks_of(self, caller: Caller) -> set[str]:
        """Return whose marks the caller may see at all."""
        if not caller.belongs:
            return set()
        if caller.kind is Kind.VISITOR:
            return {"acme.visitor"}
        rooms = {f"{caller.home}.session", f"{caller.home}.figures"}
        if caller.home == "acme":
            rooms |= {"acme.visitor", "acme.stranger"}
        return {caller.home} | rooms


def build() -> World:
    """Furnish a migrated, otherwise empty database."""
    world = World()
    plan = Plan.objects.create(
        code="isolation",
        name="Isolation",
        max_api_keys=MAX_API_KEYS,
        max_members=MAX_MEMBERS,
        max_input_chars=MAX_INPUT_CHARS,
    )
    # Umbrella first: what asks for any document gets one of Umbrella's.
    for name in ("umbrella", "acme", "hooli", "initech"):
        world.estates[name] = _furnish(name, plan)
    _people(world)
    _keys(world)
    _visitors(world)
    _fill_webhooks(world.umbrella)
    _leave(world)
    world.estates["hooli"].tenant.suspend(_by(world.estates["hooli"].admin))
    world.estates["initech"].tenant.delete_softly(_by(world.estates["initech"].admin))
    _muddle(world)
    _use(world.umbrella.tenant)
    # No note of its use is due while the matrix runs.
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(days=1))
    return world


# -- what a tenant owns --------------------------------------------------------


def _furnish(name: str, plan: Plan) -> Estate:
    admin = _person(f"{name}-admin")
    by = replace(
        _by(admin), name=mark(name), address="192.0.2.1", user_agent=mark(name), request_id=mark(name)
    )
    tenant = Tenant.objects.open(name=f"{name} {mark(name)}", plan=plan, by=by)
    tenant.change(
        by,
        domain=f"{mark(name)}.example",
        system_prompt=f"You work for {mark(name)}.",
        allowed_origins=[SHOP],
    )
    member = _person(f"{name}-member", name=mark(name))
    tenant.memberships.create(user=member, role="developer")
    sent = [
        Invitation.objects.send(tenant, email=email, role="viewer", by=by)
        for email in (INVITED_EVERYWHERE, f"{mark(name)}@example.com")
    ]
    key = _key(tenant, name=mark(name))
    hook = Webhook.objects.register(
        tenant, by=by, url=f"https://{mark(name)}.example/", events=Event.values
    ).webhook
    hook.tell(Event.values[0], {"note": mark(name)}, once=name)
    erasure = ErasureManifest.objects.create(
        tenant=tenant.pk,
        scope="visitor",
        subject_digest=mark(name),
        asked_by=mark(name),
        asked_at=timezone.now(),
    )
    passed_by = ChatSession.objects.create(tenant=tenant, visitor=f"v_{name}", **_labels(f"{name}.session"))
    session = ChatSession.objects.create(tenant=tenant, user=admin, **_labels(f"{name}.session"))
    return Estate(
        tenant=tenant,
        admin=admin,
        member=member,
        invitation=sent[1].invitation,
        invitation_token=sent[1].token,
        key=key,
        webhook=hook,
        erasure=erasure,
        visitor=passed_by.visitor,
        session=session,
        reply=_talk(session, f"{name}.session"),
    )


def _labels(owner: str) -> dict[str, Any]:
    return {
        "title": mark(owner),
        "origin": SHOP,
        "metadata": {"note": mark(owner)},
        "overrides": {"system_prompt": f"Remember {mark(owner)}."},
    }


def _talk(session: ChatSession, owner: str) -> Message:
    """Put two questions into the session, one answered, one not; return the reply that failed."""
    figure = _FIGURE if owner.startswith("umbrella") else 10
    receipt = {"target": "groq/groq-model", "provider": "groq", "model": "groq-model", "run": 1}
    receipt |= {"outcome": "ok", "input_tokens": figure, "output_tokens": figure, "waited_ms": 1}
    receipt |= {"detail": mark(owner)}
    for seq, status in ((1, "complete"), (3, "failed")):
        common = {"session": session, "tenant": session.tenant, "metadata": {"note": mark(owner)}}
        asked = Message.objects.create(
            **common, seq=seq, role="user", content=f"Question {mark(owner)}", fingerprint=mark(owner)[:64]
        )
        reply = Message.objects.create(
            **common,
            seq=seq + 1,
            role="assistant",
            in_reply_to=asked,
            status=status,
            content=f"Reply {mark(owner)}",
            provider="groq",
            model=mark(owner),
            attempts=[receipt],
            input_tokens=figure,
            output_tokens=figure,
            feedback={"rating": "up", "comment": mark(owner)},
            error={"kind": "server_error", "detail": mark(owner)} if status == "failed" else None,
            settled=True,
            reservation=ObjectId(),
            month=month_of(timezone.now()),
            finished_at=timezone.now(),
        )
    then = timezone.now() - LONG_AGO
    Message.objects.filter(session=session).update(created_at=then, finished_at=then)
    ChatSession.objects.filter(pk=session.pk).update(created_at=then)
    return reply


def _use(tenant: Tenant) -> None:
    """Give a tenant figures of use. Acme has none, so that its first use is made here, too."""
    usage = Usage.objects.of(tenant)
    figures = {"messages": _FIGURE, "tokens": _FIGURE, "cost": 0}
    months = {month_of(timezone.now()): figures | {f"reserved_{name}": 0 for name in figures}}
    Usage.objects.filter(pk=usage.pk).update(months=months)


def _fill_webhooks(estate: Estate) -> None:
    """Give a tenant nearly as many webhooks as one may have; all tenants together have more."""
    for number in range(MOST_WEBHOOKS - 3):
        Webhook.objects.register(
            estate.tenant,
            by=_by(estate.admin),
            url=f"https://{mark('umbrella')}.example/{number}",
            events=Event.values,
        )


def _leave(world: World) -> None:
    """Have visitors of one name be erased in two tenants; of another in Umbrella alone."""
    umbrella, acme = world.umbrella, world.acme
    for estate, name in ((umbrella, LEAVING), (acme, LEAVING), (umbrella, LEAVING_UMBRELLA)):
        Erasure.objects.begin(estate.tenant.pk, ErasureScope.VISITOR, name, _by(estate.admin))
        session = ChatSession.objects.create(tenant=estate.tenant, visitor=name, title="leaving")
        # Says that it is Umbrella's, whoever's the session is.
        Message.objects.create(session=session, tenant=umbrella.tenant, seq=1, role="user", content="leaving")


def _muddle(world: World) -> None:
    """Store messages that say they are another tenant's than their session, as no code of ours does."""
    acme, umbrella = world.acme.tenant, world.umbrella.tenant
    world.muddled = ChatSession.objects.create(tenant=acme, title="muddled")
    elsewhere = ChatSession.objects.create(tenant=umbrella, user=world.umbrella.admin)
    for session, tenant, text in ((world.muddled, umbrella, mark("umbrella")), (elsewhere, acme, "muddled")):
        Message.objects.create(session=session, tenant=tenant, seq=1, role="user", content=text)


# -- who calls -----------------------------------------------------------------


def _people(world: World) -> None:
    acme = world.acme.tenant
    for role in ("viewer", "developer", "admin"):
        user = _person(f"acme-{role}2")
        acme.memberships.create(user=user, role=role)
        world.users[role] = user
        _welcome(world, _signed_in(role, user, role=role))
    _welcome(world, Caller("anonymous", Kind.NOBODY, belongs=False))
    _welcome(world, _signed_in("other admin", world.umbrella.admin, home="umbrella", role="admin"))
    former = _person("former")
    acme.memberships.create(user=former, role="admin").end(_by(world.acme.admin))
    _welcome(world, _signed_in("former member", former, belongs=False))
    lost = world.estates["initech"]
    world.lost_invitation_token = Invitation.objects.send(
        lost.tenant, email=former.email, role="viewer", by=_by(lost.admin)
    ).token
    inactive = _person("inactive")
    acme.memberships.create(user=inactive, role="admin")
    _welcome(world, _signed_in("inactive user", inactive, role="admin", belongs=False, state=State.INACTIVE))
    inactive.is_active = False
    inactive.save()
    _welcome(world, _signed_in("staff", _person("staff", is_staff=True), belongs=False))
    hooli, initech = world.estates["hooli"].admin, world.estates["initech"].admin
    suspended = {"home": "hooli", "role": "admin", "state": State.SUSPENDED}
    _welcome(world, _signed_in("suspended tenant's admin", hooli, **suspended))
    _welcome(
        world, _signed_in("deleted tenant's admin", initech, home="initech", role="admin", belongs=False)
    )


def _keys(world: World) -> None:
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


def _visitors(world: World) -> None:
    for name, room, belongs in (("visitor", "visitor", True), ("other visitor", "stranger", False)):
        session = ChatSession.objects.create(
            tenant=world.acme.tenant, visitor=f"v_{room}", **_labels(f"acme.{room}")
        )
        reply = _talk(session, f"acme.{room}")
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
    token = VisitorPass(**said | other).token()
    return Caller(name, Kind.VISITOR, home, token, belongs=belongs, origin=SHOP)


def _welcome(world: World, caller: Caller) -> None:
    world.callers[caller.name] = caller


def _person(login: str, **fields: Any) -> User:
    return User.objects.create_user(f"{login}@example.com", **{"name": login, **fields})


def _by(user: User) -> Actor:
    return Actor(user.email, user=user)


def _key(tenant: Tenant, **fields: Any) -> ApiKey:
    return ApiKey.objects.generate(tenant, kind="sk", environment="live", **fields).key


def _signed_in(name: str, user: User, **about: Any) -> Caller:
    token = AccessToken.of_session(user.pk, uuid.uuid4().hex)
    return Caller(name, Kind.PERSON, credential=str(token), **about)


# -- whose documents are whose -------------------------------------------------


def owned_models() -> dict[type[Document], str]:
    """Return every kind of document that a tenant owns, with the column that names the tenant."""
    columns = {model: _owner_column(model) for model in apps.get_models()}
    return {model: column for model, column in columns.items() if column}


def _owner_column(model: type[Model]) -> str:
    if model in (Tenant, Usage, RollupCoverage):
        return "_id"
    columns = {each.column for each in model._meta.concrete_fields}
    return next((name for name in ("tenant_id", "tenant") if name in columns), "")
