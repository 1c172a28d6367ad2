"""Who may do what, and how much of it: one subject a file."""

from tenants.models.api_key import ApiKey
from tenants.models.audit import AuditEvent
from tenants.models.erasure import Erasure, ErasureManifest
from tenants.models.invitation import Invitation
from tenants.models.ledger import LedgerEntry
from tenants.models.membership import Membership
from tenants.models.plan import Plan
from tenants.models.tenant import Tenant
from tenants.models.usage import Usage
from tenants.models.webhook import Webhook, WebhookDelivery

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Erasure",
    "ErasureManifest",
    "Invitation",
    "LedgerEntry",
    "Membership",
    "Plan",
    "Tenant",
    "Usage",
    "Webhook",
    "WebhookDelivery",
]
