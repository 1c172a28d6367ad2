"""Who may do what in a tenant.

Read in this order: `rights` is the table of what can be allowed, `access` what a caller has of it in one
tenant, `callers` how it is found, `permission` how it is judged, `views` the base class of every view
below a tenant.
"""

from tenants.access.access import Access, TenantSuspended, require_active
from tenants.access.callers import KeyCaller, MemberCaller, TenantCaller

__all__ = ["Access", "KeyCaller", "MemberCaller", "TenantCaller", "TenantSuspended", "require_active"]
