"""Who may do what in a tenant.

Read in this order: `rights` is the table of all rights, `access` what a caller may do in one tenant,
`callers` how each kind of caller gets its access, `permission` how it is checked, `views` the base class of
every view below a tenant.
"""

from tenants.access.access import Access, TenantSuspended, require_active
from tenants.access.callers import KeyCaller, MemberCaller, TenantCaller

__all__ = ["Access", "KeyCaller", "MemberCaller", "TenantCaller", "TenantSuspended", "require_active"]
