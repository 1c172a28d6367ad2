"""The data of the matrix: four tenants with the same kinds of objects, and all callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from chat.models import ChatSession, Message
from chat.visitor_identity import VisitorIdentity
from core.audit.models import AuditEvent
from qa.isolation import principals
from qa.isolation.callers import Caller, Kind
from qa.isolation.canaries import NUMBER, canary
from qa.isolation.principals import MAX_API_KEYS
from qa.isolation.tenant_fixtures import FIRST_CREATED_AT, INVITED_BY_ALL, TenantFixtures, actor, build_tenant
from tenants.billing.limits import month_of
from tenants.models import ApiKey, Erasure, Invitation, Plan, Tenant, Usage, Webhook
from tenants.models.erasure import ErasureScope
from tenants.webhooks.models import MAX_WEBHOOKS, Event

#: More than one tenant has, fewer than all tenants have together.
MAX_MEMBERS = 9
MAX_INPUT_CHARS = 2000

#: A visitor name whose erasure is running in Acme and in Umbrella, and one whose runs in Umbrella only.
ERASED_IN_BOTH, ERASED_IN_UMBRELLA = "v_erased", "v_erased_in_umbrella"


@dataclass
class Dataset:
    """`fixtures` are by tenant; those of "visitor" and "stranger" are Acme's with a visitor's session."""

    fixtures: dict[str, TenantFixtures] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    public_key: ApiKey = field(init=False)
    #: Invites "former member" to Initech, which is deleted.
    deleted_tenants_invitation_token: str = field(init=False)
    #: A session of Acme with a message that names Umbrella, which our code never stores.
    mixed_session: ChatSession = field(init=False)

    def __getitem__(self, name: str) -> Caller:
        return self.callers[name]

    @property
    def acme(self) -> TenantFixtures:
        return self.fixtures["acme"]

    @property
    def umbrella(self) -> TenantFixtures:
        return self.fixtures["umbrella"]

    def own(self, caller: Caller) -> TenantFixtures:
        return self.fixtures[caller.home]

    def foreign(self, caller: Caller) -> TenantFixtures:
        return self.acme if caller.home == "umbrella" else self.umbrella

    def owners_visible_to(self, caller: Caller) -> set[str]:
        """Return the owners of all canaries that the caller may see in any answer."""
        if caller.kind is Kind.VISITOR:
            return {"acme.visitor" if caller.has_access else "acme.stranger"}
        if not caller.has_access:
            return set()
        owners = {caller.home, f"{caller.home}.session", f"{caller.home}.numbers"}
        return owners | ({"acme.visitor", "acme.stranger"} if caller.home == "acme" else set())


def build() -> Dataset:
    """Fill a migrated, otherwise empty database."""
    dataset = Dataset()
    plan = Plan.objects.create(
        code="isolation",
        name="Isolation",
        max_api_keys=MAX_API_KEYS,
        max_members=MAX_MEMBERS,
        max_input_chars=MAX_INPUT_CHARS,
    )
    # Umbrella first: a query without conditions finds its documents first.
    for name in ("umbrella", "acme", "hooli", "initech"):
        dataset.fixtures[name] = build_tenant(name, plan)
    _leave_to_be_invited(dataset)
    _add_earlier_session(dataset.umbrella)
    _record_action_of_a_foreign_user(dataset)
    principals.add_users(dataset)
    principals.add_keys(dataset)
    principals.add_visitors(dataset)
    _fill_webhooks(dataset.umbrella)
    _begin_erasures(dataset)
    dataset.fixtures["hooli"].tenant.suspend(actor(dataset.fixtures["hooli"].admin))
    dataset.fixtures["initech"].tenant.soft_delete(actor(dataset.fixtures["initech"].admin))
    _add_mixed_sessions(dataset)
    _add_usage(dataset.umbrella.tenant)
    # So that no request of the matrix updates when a key or identity was last used.
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(days=1))
    VisitorIdentity.objects.update(expires_at=timezone.now() + timedelta(days=1000))
    return dataset


def _leave_to_be_invited(dataset: Dataset) -> None:
    """Leave the address that all have invited without an open invitation where the matrix invites it."""
    inviting = [dataset.acme.tenant, dataset.umbrella.tenant]
    Invitation.objects.filter(tenant__in=inviting, email=INVITED_BY_ALL).update(revoked_at=timezone.now())


def _add_earlier_session(fixtures: TenantFixtures) -> None:
    session = ChatSession.objects.create(tenant=fixtures.tenant, title=canary("umbrella"))
    message = Message.objects.create(
        session=session, tenant=fixtures.tenant, seq=1, role="user", content="first"
    )
    for document in (session, message):
        type(document).objects.filter(pk=document.pk).update(created_at=FIRST_CREATED_AT)


def _record_action_of_a_foreign_user(dataset: Dataset) -> None:
    tenant = dataset.umbrella.tenant
    AuditEvent.objects.record(actor(dataset.acme.admin), "tenant.updated", tenant, tenant_id=tenant.pk)


def _add_usage(tenant: Tenant) -> None:
    """Give a tenant usage of this month. Acme has none, so that its first usage is also tested."""
    usage = Usage.objects.of(tenant)
    used = {"messages": NUMBER, "tokens": NUMBER, "cost": 0}
    months = {month_of(timezone.now()): used | {f"reserved_{name}": 0 for name in used}}
    Usage.objects.filter(pk=usage.pk).update(months=months)


def _fill_webhooks(fixtures: TenantFixtures) -> None:
    """Give a tenant nearly as many webhooks as one may have; all tenants together have more."""
    for number in range(MAX_WEBHOOKS - 3):
        Webhook.objects.register(
            fixtures.tenant,
            by=actor(fixtures.admin),
            url=f"https://{canary('umbrella')}.example/{number}",
            events=Event.values,
        )


def _begin_erasures(dataset: Dataset) -> None:
    umbrella, acme = dataset.umbrella, dataset.acme
    for fixtures, name in (
        (umbrella, ERASED_IN_BOTH),
        (acme, ERASED_IN_BOTH),
        (umbrella, ERASED_IN_UMBRELLA),
    ):
        Erasure.objects.begin(fixtures.tenant.pk, ErasureScope.VISITOR, name, actor(fixtures.admin))
        session = ChatSession.objects.create(tenant=fixtures.tenant, visitor=name, title="to erase")
        # Names Umbrella, also in the session of Acme.
        Message.objects.create(
            session=session, tenant=umbrella.tenant, seq=1, role="user", content="to erase"
        )


def _add_mixed_sessions(dataset: Dataset) -> None:
    """Store messages that name another tenant than their session does, which our code never stores."""
    acme, umbrella = dataset.acme.tenant, dataset.umbrella.tenant
    dataset.mixed_session = ChatSession.objects.create(tenant=acme, title="mixed")
    umbrellas = ChatSession.objects.create(tenant=umbrella, user=dataset.umbrella.admin)
    for session, tenant, text in (
        (dataset.mixed_session, umbrella, canary("umbrella")),
        (umbrellas, acme, "mixed"),
    ):
        Message.objects.create(session=session, tenant=tenant, seq=1, role="user", content=text)
