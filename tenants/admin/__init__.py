"""Tenants in the staff's console. Every change goes through the same methods as the API's."""

from tenants.admin import erasures, keys, records, team, tenants

__all__ = ["erasures", "keys", "records", "team", "tenants"]
