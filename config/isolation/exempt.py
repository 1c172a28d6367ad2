"""What looks like a scope and is none. Each with its reason; a new one has to be argued for here."""

from __future__ import annotations

#: Parts of a module's name, or all of it.
NOT_ON_REQUEST_PATHS = {
    "tests",
    "migrations",
    "management",
    "apps",
    "admin",  # Staff see every tenant; that nobody else gets in is held by the matrix.
    "console",
    "tenants.alerts",  # Background: mails a tenant's admins.
    "tenants.purge",  # Staff: removes what a tenant owned.
    "tenants.webhooks.delivery",  # Background: sends what is queued.
    "chat.retention",  # Background: finds what is too old.
    "tenants.models.ledger",  # Commands: counts again what every tenant used.
    # Keep figures ready, which decides how fast an answer is; what it says is read by `reading`.
    "chat.analytics.rollups",
    "chat.analytics.calendars",
}

_DOCUMENT = "Writes a new document, or shows one."
_UNIQUE = "Names one document by what no other has."

#: Functions, or one scope in one: "module.function: text".
NOT_SCOPES = {
    "chat.erasure.sessions_of: 'user_id': ObjectId(erasure.subject)": "For commands.",
    # Second locks: the ids beside them were found within the tenant.
    "chat.erasure.remove_sessions: 'tenant_id': erasure.tenant": _UNIQUE,
    "chat.analytics.removal._remove": _UNIQUE,
    "chat.entitlement.lost_among": "Reads more or less; what counts is the exact pair of user and tenant.",
    "chat.erasure._clear_audit_trail": "For commands.",
    "chat.erasure._remove_what_no_session_has": "For commands.",
    "chat.acceptance._insert_at_end": "Only chooses a number; reached when turns of one session overlap.",
    "accounts.models.RefreshTokenQuerySet.issue": _UNIQUE,  # The hash of the password.
    "accounts.models.User.end_session": _UNIQUE,  # The session's number.
    "tenants.models.usage._settling": _UNIQUE,  # The reservation's id.
    "tenants.models.usage.UsageManager.renew": _UNIQUE,
    "tenants.models.tenant.TenantQuerySet.purgeable": "For commands: what is too old to be restored.",
    "chat.openai.metering.MeteredRun._settle": _DOCUMENT,
    "chat.settlement.ledger_entries": _DOCUMENT,
    "chat.acceptance._documents": _DOCUMENT,
    "chat.views.open_session": _DOCUMENT,
    "chat.views.simple_reply": _DOCUMENT,
    "chat.visitors.VisitorPass.token": _DOCUMENT,
}
