"""Tenants in the staff's console. Every change goes through the same methods as the API's."""

from tenants.admin import erasures, keys, records, team, tenants, webhooks

__all__ = ["erasures", "keys", "records", "team", "tenants", "webhooks"]
