"""The objects that every tenant of the dataset owns, of the same kinds, each with the tenant's canary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone

from accounts.models import User
from chat.models import ChatSession, Message
from chat.visitor_identity import VisitorIdentity
from core.audit.models import Actor, Source
from core.jobs.models import SetAside
from qa.isolation.canaries import NUMBER, canary
from tenants.billing.limits import month_of
from tenants.models import ApiKey, ErasureManifest, Invitation, LedgerEntry, Plan, Tenant, Webhook
from tenants.webhooks.models import Event

SHOP = "https://shop.example"

#: An address that every tenant has invited.
INVITED_BY_ALL = "invited@example.com"

#: When all messages were created, within one quarter hour: whole days, weeks and months have passed since.
CREATED_AT = timezone.now() - timedelta(days=70)

#: Umbrella has one session from before that.
FIRST_CREATED_AT = CREATED_AT - timedelta(days=5)


def analytics_from() -> str:
    """Return a date before all sessions but Umbrella's first."""
    return str((CREATED_AT - timedelta(days=35)).date())


@dataclass(frozen=True)
class TenantFixtures:
    """The objects of one tenant, or of one visitor of it, that ids in a request may name.

    `reply` has failed, so that it can be retried. `member` is not a caller of the matrix.
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
        attribute = {"tenant_id": "tenant", "user_id": "member", "message_id": "reply"}.get(
            parameter, parameter.removesuffix("_id")
        )
        pk: ObjectId | str = getattr(self, attribute).pk
        return pk


def build_tenant(name: str, plan: Plan) -> TenantFixtures:
    admin = create_user(f"{name}-admin")
    source = Source("192.0.2.1", user_agent=canary(name), request_id=canary(name))
    by = Actor(canary(name), user_id=admin.pk, source=source)
    tenant = Tenant.objects.create_with_admin(name=f"{name} {canary(name)}", plan=plan, by=by)
    tenant.change(
        by,
        domain=f"{canary(name)}.example",
        system_prompt=f"You work for {canary(name)}.",
        allowed_origins=[SHOP],
    )
    member = create_user(f"{name}-member", name=canary(name))
    tenant.memberships.create(user=member, role="developer")
    sent = [
        Invitation.objects.send(tenant, email=email, role="viewer", by=by)
        for email in (INVITED_BY_ALL, f"{canary(name)}@example.com")
    ]
    visited = ChatSession.objects.create(
        tenant=tenant, visitor=f"v_{name}", **session_texts(f"{name}.session")
    )
    key = _create_key(tenant, name)
    VisitorIdentity.objects.keep(tenant.pk, visited.visitor, key.pk, SHOP)
    session = ChatSession.objects.create(tenant=tenant, user=admin, **session_texts(f"{name}.session"))
    reply = add_exchanges(session, f"{name}.session")
    _add_ledger_entry(reply, canary(name))
    SetAside.objects.record("deliver_webhooks", f"tenant {tenant.pk}", canary(name), tenant.pk)
    return TenantFixtures(
        tenant=tenant,
        admin=admin,
        member=member,
        invitation=sent[1].invitation,
        invitation_token=sent[1].token,
        key=key,
        webhook=_register_webhook(tenant, name, by),
        erasure=_create_manifest(tenant, canary(name)),
        visitor=visited.visitor,
        session=session,
        reply=reply,
    )


def _create_key(tenant: Tenant, name: str) -> ApiKey:
    return ApiKey.objects.generate(tenant, kind="sk", environment="live", name=canary(name)).key


def _register_webhook(tenant: Tenant, name: str, by: Actor) -> Webhook:
    """Return a webhook with a delivery that failed."""
    url = f"https://{canary(name)}.example/"
    webhook = Webhook.objects.register(tenant, by=by, url=url, events=Event.values).webhook
    delivery = webhook.enqueue(Event.values[0], {"note": canary(name)}, dedup_key=name)
    assert delivery  # noqa: S101 - the first of its name
    delivery.failed(canary(name))
    return webhook


def _create_manifest(tenant: Tenant, text: str) -> ErasureManifest:
    return ErasureManifest.objects.create(
        tenant=tenant.pk, scope="visitor", subject_digest=text, asked_by=text, asked_at=timezone.now()
    )


def _add_ledger_entry(reply: Message, model: str) -> None:
    LedgerEntry.objects.create(
        tenant=reply.tenant,
        month=reply.month,
        session=reply.session.pk,
        reply=reply.pk,
        provider="groq",
        model=model,
        outcome="ok",
    )


def session_texts(owner: str) -> dict[str, Any]:
    return {
        "title": canary(owner),
        "origin": SHOP,
        "metadata": {"note": canary(owner)},
        "overrides": {"system_prompt": f"Remember {canary(owner)}."},
    }


def add_exchanges(session: ChatSession, owner: str) -> Message:
    """Add two questions with replies to the session; return the second reply, which failed."""
    tokens = NUMBER if owner.startswith("umbrella") else 10
    attempt = {"target": "groq/groq-model", "provider": "groq", "model": "groq-model", "run": 1}
    attempt |= {"outcome": "ok", "input_tokens": tokens, "output_tokens": tokens, "waited_ms": 1}
    attempt |= {"cost": None, "cost_basis": "unpriced", "detail": canary(owner)}
    for seq, status in ((1, "complete"), (3, "failed")):
        common = {"session": session, "tenant": session.tenant, "metadata": {"note": canary(owner)}}
        question = Message.objects.create(
            **common,
            seq=seq,
            role="user",
            content=f"Question {canary(owner)}",
            fingerprint=canary(owner)[:64],
        )
        reply = Message.objects.create(
            **common,
            seq=seq + 1,
            role="assistant",
            in_reply_to=question,
            status=status,
            content=f"Reply {canary(owner)}",
            provider="groq",
            model=canary(owner),
            attempts=[attempt],
            input_tokens=tokens,
            output_tokens=tokens,
            feedback={"rating": "up", "comment": canary(owner)},
            error={"kind": "server_error", "detail": canary(owner)} if status == "failed" else None,
            settled=True,
            reservation=ObjectId(),
            month=month_of(timezone.now()),
            finished_at=timezone.now(),
        )
    Message.objects.filter(session=session).update(created_at=CREATED_AT, finished_at=CREATED_AT)
    ChatSession.objects.filter(pk=session.pk).update(created_at=CREATED_AT)
    return reply


def create_user(login: str, **fields: Any) -> User:
    return User.objects.create_user(f"{login}@example.com", **{"name": login, **fields})


def actor(user: User) -> Actor:
    return user.as_actor()
