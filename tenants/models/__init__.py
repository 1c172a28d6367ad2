"""Tenants and what they own, one model per file. Django finds here those of billing and webhooks too."""

from tenants.billing.ledger import LedgerEntry
from tenants.billing.plan import Plan
from tenants.billing.usage import Usage
from tenants.models.api_key import ApiKey
from tenants.models.erasure import Erasure, ErasureManifest
from tenants.models.invitation import Invitation
from tenants.models.membership import Membership
from tenants.models.tenant import Tenant
from tenants.webhooks.models import Webhook, WebhookDelivery

__all__ = [
    "ApiKey",
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
