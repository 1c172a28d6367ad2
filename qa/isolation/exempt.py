"""What looks like a scope and is none that a request could lose. A new one has to be argued for here."""

from __future__ import annotations

#: Parts of a module's name.
NO_PRODUCT = {"tests", "migrations", "management", "apps"}

#: Parts of a module's name: what staff see, which is every tenant. That nobody else gets in is held by
#: `tests/test_table.py`, page by page.
FOR_STAFF = {"admin", "console"}

#: Modules and functions that commands run and no request does; `tests/test_exempt.py` looks on.
ONLY_IN_COMMANDS = {
    "tenants.billing.alerts": "send_usage_alerts, for every tenant.",
    "tenants.webhooks.delivery": "deliver_webhooks, for every tenant.",
    "tenants.billing.ledger": "verify_ledger, for every tenant.",
    "tenants.models.tenant.TenantQuerySet.purgeable": "purge_tenants: a date, and no tenant.",
    "chat.retention": "prune, for every tenant.",
}

#: Scopes without which every answer stays what it is, as `Scope.name` spells them.
WITHOUT_EFFECT = {
    "core.api.throttling.rate_key: caller_of(request).rate_key": "How often a caller may ask, not for what.",
    "chat.turns.access_watch.revoked_among: 'user_id': {'$in': list(users)}": (
        "Only reads more: what is found is asked for by the exact pair of user and tenant."
    ),
    "chat.turns.access_watch.revoked_among: 'tenant_id': {'$in': list(tenants)}": "The same.",
    "chat.turns.sending.send_first: turn.question.session_id != session.pk is always so": (
        "What follows deletes only a session without messages, and this one has got its first."
    ),
    "chat.turns.sending.send_first: .visible_to(conversation.access)": (
        "The id is that of the caller's own message, found by a digest that has the caller in it."
    ),
    "chat.turns.reply.Reply.to_document: 'session_id': self.session_id": (
        "What is stored, not a condition: without it the reply is in no session, and shown to no caller."
    ),
    "chat.turns.settlement.settle_ended: 'tenant_id': tenant_id": (
        "What has ended is settled by the first who comes, whose ever it is; here only time is saved."
    ),
    "chat.turns.settlement.settle_ended: run.tenant_id == tenant_id is always so": "The same.",
    "chat.turns.settlement.settle_ended: run.tenant_id == tenant_id is never so": (
        "Then a run is settled a moment later, by the thread that settles all."
    ),
    "chat.analytics.rollups._begin_coverage: '_id': tenant_id": (
        "The number of a new document, no condition; the loop around it goes on until it finds that number."
    ),
}
