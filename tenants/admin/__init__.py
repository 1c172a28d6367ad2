"""Tenants in the admin site. Every change goes through the same model methods as the API's.

`base` is what the pages share; each other module has the pages of one subject. The pages of plans, usage and
ledger are in `tenants.billing.admin`, those of webhooks in `tenants.webhooks.admin`.
"""

from tenants.admin import api_keys, audit, erasures, members, tenants
from tenants.billing import admin as billing
from tenants.webhooks import admin as webhooks

__all__ = ["api_keys", "audit", "billing", "erasures", "members", "tenants", "webhooks"]
