"""The base class of every view below a tenant."""

from __future__ import annotations

from django.utils.functional import cached_property
from rest_framework.views import APIView

from core.errors import NotFound
from core.mongo.ids import object_id
from tenants.access.access import Access
from tenants.access.callers import TenantCaller
from tenants.access.permission import HasRight
from tenants.access.rights import Right
from tenants.authentication import ApiKeyAuthentication, MemberAuthentication
from tenants.denials import DenialAudit
from tenants.models import Tenant


class TenantScopedView(DenialAudit, APIView):
    """A view below one tenant. `rights` says per method who gets in; a method not listed is not offered.

    A view whose path names another object than the tenant overrides `find_access`.
    """

    authentication_classes = [MemberAuthentication, ApiKeyAuthentication]
    permission_classes = [HasRight]
    rights: dict[str, Right] = {}

    @property
    def caller(self) -> TenantCaller:
        """Only for requests with a credential: all others have been answered 401."""
        return self.request.auth

    @cached_property
    def access(self) -> Access:
        return self.find_access()

    def find_access(self) -> Access:
        return self.access_to(self.kwargs["tenant_id"])

    def access_to(self, tenant_id: object) -> Access:
        """Return the caller's access to a tenant.

        Raises NotFound for a tenant that is missing, deleted, malformed or foreign, all alike, and
        TenantSuspended.
        """
        wanted = object_id(tenant_id)
        access = self.caller.access_to(wanted) if wanted else None
        if access is None:
            raise NotFound
        self.request.log_fields["tenant"] = str(access.tenant.pk)
        return access

    @property
    def tenant(self) -> Tenant:
        return self.access.tenant
