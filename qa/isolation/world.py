"""A small world of tenants, each furnished alike, and everybody who calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from chat.models import ChatSession, Message
from core.audit.models import AuditEvent
from qa.isolation import principals
from qa.isolation.callers import Caller, Kind
from qa.isolation.canaries import FIGURE, mark
from qa.isolation.principals import MAX_API_KEYS
from qa.isolation.tenant_fixtures import TALKED_FIRST_AT, Estate, actor, furnish
from tenants.billing.limits import month_of
from tenants.models import ApiKey, Erasure, Plan, Tenant, Usage, Webhook
from tenants.models.erasure import ErasureScope
from tenants.webhooks.models import MAX_WEBHOOKS, Event

#: More than one tenant has, fewer than all tenants have together.
MAX_MEMBERS = 9
MAX_INPUT_CHARS = 2000

#: A visitor of that name is being erased by every tenant; the other one by Umbrella alone.
LEAVING, LEAVING_UMBRELLA = "v_leaving", "v_leaving_umbrella"


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
        world.estates[name] = furnish(name, plan)
    _talked_first(world.umbrella)
    # Somebody did something in two tenants.
    AuditEvent.objects.record(
        actor(world.acme.admin), "tenant.updated", world.umbrella.tenant, tenant_id=world.umbrella.tenant.pk
    )
    principals.people(world)
    principals.keys(world)
    principals.visitors(world)
    _fill_webhooks(world.umbrella)
    _leave(world)
    world.estates["hooli"].tenant.suspend(actor(world.estates["hooli"].admin))
    world.estates["initech"].tenant.soft_delete(actor(world.estates["initech"].admin))
    _muddle(world)
    _use(world.umbrella.tenant)
    # No note of its use is due while the matrix runs.
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(days=1))
    return world


def _talked_first(estate: Estate) -> None:
    session = ChatSession.objects.create(tenant=estate.tenant, title=mark("umbrella"))
    message = Message.objects.create(
        session=session, tenant=estate.tenant, seq=1, role="user", content="first"
    )
    for document in (session, message):
        type(document).objects.filter(pk=document.pk).update(created_at=TALKED_FIRST_AT)


def _use(tenant: Tenant) -> None:
    """Give a tenant figures of use. Acme has none, so that its first use is made here, too."""
    usage = Usage.objects.of(tenant)
    figures = {"messages": FIGURE, "tokens": FIGURE, "cost": 0}
    months = {month_of(timezone.now()): figures | {f"reserved_{name}": 0 for name in figures}}
    Usage.objects.filter(pk=usage.pk).update(months=months)


def _fill_webhooks(estate: Estate) -> None:
    """Give a tenant nearly as many webhooks as one may have; all tenants together have more."""
    for number in range(MAX_WEBHOOKS - 3):
        Webhook.objects.register(
            estate.tenant,
            by=actor(estate.admin),
            url=f"https://{mark('umbrella')}.example/{number}",
            events=Event.values,
        )


def _leave(world: World) -> None:
    """Have visitors of one name be erased in two tenants; of another in Umbrella alone."""
    umbrella, acme = world.umbrella, world.acme
    for estate, name in ((umbrella, LEAVING), (acme, LEAVING), (umbrella, LEAVING_UMBRELLA)):
        Erasure.objects.begin(estate.tenant.pk, ErasureScope.VISITOR, name, actor(estate.admin))
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
