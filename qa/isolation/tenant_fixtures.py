"""What a tenant of the world owns, each furnished alike, and all of it marked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone

from accounts.models import User
from chat.models import ChatSession, Message
from core.audit.models import Actor, Source
from qa.isolation.canaries import FIGURE, mark
from tenants.billing.limits import month_of
from tenants.models import ApiKey, ErasureManifest, Invitation, LedgerEntry, Plan, Tenant, Webhook
from tenants.webhooks.models import Event

SHOP = "https://shop.example"

#: An address that every tenant has invited.
INVITED_EVERYWHERE = "invited@example.com"

#: When people talked, all in the same quarter hour: there are whole days, weeks and months of figures since.
TALKED_AT = timezone.now() - timedelta(days=70)

#: Before that one of them had talked already.
TALKED_FIRST_AT = TALKED_AT - timedelta(days=5)


def since() -> str:
    """Return the day from which on analytics show everything."""
    return str((TALKED_AT - timedelta(days=35)).date())


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


def furnish(name: str, plan: Plan) -> Estate:
    admin = person(f"{name}-admin")
    source = Source("192.0.2.1", user_agent=mark(name), request_id=mark(name))
    by = Actor(mark(name), user_id=admin.pk, source=source)
    tenant = Tenant.objects.create_with_admin(name=f"{name} {mark(name)}", plan=plan, by=by)
    tenant.change(
        by,
        domain=f"{mark(name)}.example",
        system_prompt=f"You work for {mark(name)}.",
        allowed_origins=[SHOP],
    )
    member = person(f"{name}-member", name=mark(name))
    tenant.memberships.create(user=member, role="developer")
    sent = [
        Invitation.objects.send(tenant, email=email, role="viewer", by=by)
        for email in (INVITED_EVERYWHERE, f"{mark(name)}@example.com")
    ]
    key = _key(tenant, name=mark(name))
    hook = Webhook.objects.register(
        tenant, by=by, url=f"https://{mark(name)}.example/", events=Event.values
    ).webhook
    told = hook.enqueue(Event.values[0], {"note": mark(name)}, dedup_key=name)
    told.failed(mark(name))
    erasure = ErasureManifest.objects.create(
        tenant=tenant.pk,
        scope="visitor",
        subject_digest=mark(name),
        asked_by=mark(name),
        asked_at=timezone.now(),
    )
    passed_by = ChatSession.objects.create(tenant=tenant, visitor=f"v_{name}", **labels(f"{name}.session"))
    session = ChatSession.objects.create(tenant=tenant, user=admin, **labels(f"{name}.session"))
    reply = talk(session, f"{name}.session")
    LedgerEntry.objects.create(
        tenant=tenant,
        month=reply.month,
        session=session.pk,
        reply=reply.pk,
        provider="groq",
        model=mark(name),
        outcome="ok",
    )
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
        reply=reply,
    )


def labels(owner: str) -> dict[str, Any]:
    return {
        "title": mark(owner),
        "origin": SHOP,
        "metadata": {"note": mark(owner)},
        "overrides": {"system_prompt": f"Remember {mark(owner)}."},
    }


def talk(session: ChatSession, owner: str) -> Message:
    """Put two questions into the session, one answered, one not; return the reply that failed."""
    figure = FIGURE if owner.startswith("umbrella") else 10
    receipt = {"target": "groq/groq-model", "provider": "groq", "model": "groq-model", "run": 1}
    receipt |= {"outcome": "ok", "input_tokens": figure, "output_tokens": figure, "waited_ms": 1}
    receipt |= {"cost": None, "cost_basis": "unpriced", "detail": mark(owner)}
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
    Message.objects.filter(session=session).update(created_at=TALKED_AT, finished_at=TALKED_AT)
    ChatSession.objects.filter(pk=session.pk).update(created_at=TALKED_AT)
    return reply


def person(login: str, **fields: Any) -> User:
    return User.objects.create_user(f"{login}@example.com", **{"name": login, **fields})


def actor(user: User) -> Actor:
    return user.as_actor()


def _key(tenant: Tenant, **fields: Any) -> ApiKey:
    return ApiKey.objects.generate(tenant, kind="sk", environment="live", **fields).key
