"""Who may do what, and how much of it: one subject a file."""

from tenants.models.api_key import ApiKey
from tenants.models.audit import AuditEvent
from tenants.models.invitation import Invitation
from tenants.models.ledger import LedgerEntry
from tenants.models.membership import Membership
from tenants.models.plan import Plan
from tenants.models.tenant import Tenant
from tenants.models.usage import Usage

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Invitation",
    "LedgerEntry",
    "Membership",
    "Plan",
    "Tenant",
    "Usage",
]
