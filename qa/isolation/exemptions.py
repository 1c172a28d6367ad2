"""Conditions that look like a scope, but that no request could lose. Each exemption states its reason."""

from __future__ import annotations

#: Parts of a module's name.
NOT_PRODUCT_CODE = {"tests", "migrations", "management", "apps"}

#: Parts of a module's name: what staff see, which is every tenant. `tests/test_table.py` checks for every
#: page that it is for staff only.
STAFF_ONLY = {"admin"}

#: Modules and functions that only commands run; `tests/test_mutation.py` checks that no request does.
COMMANDS_ONLY = {
    "tenants.billing.alerts": "send_usage_alerts, for every tenant.",
    "tenants.webhooks.delivery": "deliver_webhooks, for every tenant.",
    "tenants.webhooks.fair_queue": (
        "deliver_webhooks: it chooses the next tenant. `tenants/webhooks/tests/test_fair_delivery.py`."
    ),
    "tenants.webhooks.models.WebhookDeliveryQuerySet.claim": "As above.",
    "tenants.billing.ledger": "verify_ledger, for every tenant.",
    "tenants.models.tenant.TenantQuerySet.purgeable": "purge_tenants: a date, and no tenant.",
    "chat.retention": "prune, for every tenant.",
}

#: Scopes without which every answer stays the same, as `Scope.name` writes them.
WITHOUT_EFFECT = {
    "core.api.throttling.rate_key: caller_of(request).rate_key": (
        "Selects a counter, not a document, and the matrix runs without rate limits. That callers are "
        "counted apart is tested by `tests/test_rate_limits.py`."
    ),
    "chat.turns.access_watch.revoked_among: 'user_id': {'$in': list(users)}": (
        "Without it more is read; the result is filtered by the exact pair of user and tenant."
    ),
    "chat.turns.access_watch.revoked_among: 'tenant_id': {'$in': list(tenants)}": "As above.",
    "chat.models.ChatSessionQuerySet.visible_to: deleted_at=None": (
        "It hides a session of the caller's own tenant for the seconds that its erasure takes."
    ),
    "tenants.models.tenant.Tenant.was_deleted: .present()": (
        "Only a race with the tenant's deletion shows it: qa/hostile/tests/test_concurrent_changes.py."
    ),
    "chat.turns.sending.send_first: turn.question.session_id != session.pk is always true": (
        "The code below deletes only a session without messages, and this one has its first message."
    ),
    "chat.turns.sending.send_first: .visible_to(conversation.access)": (
        "The id is that of the caller's own message, found by a digest that includes the caller."
    ),
    "chat.turns.reply.Reply.to_document: 'session_id': self.session_id": (
        "A field of a new document, not a condition: without it the reply is in no session."
    ),
    "chat.turns.settlement.settle_ended: 'tenant_id': tenant_id": (
        "Any process may settle any ended turn; the condition only saves time."
    ),
    "chat.turns.settlement.settle_ended: run.tenant_id == tenant_id is always true": "As above.",
    "chat.turns.settlement.settle_ended: run.tenant_id == tenant_id is never true": (
        "The run is then settled a moment later, by the thread that settles all."
    ),
    "chat.analytics.rollups._begin_coverage: '_id': tenant_id": (
        "The id of a new document, not a condition; the loop around it repeats until it finds that id."
    ),
}
