"""The tenant of a request, found once."""

from __future__ import annotations

from django.utils.functional import cached_property
from rest_framework.views import APIView

from accounts.authentication import JWTAuthentication
from tenants.access import Access, access_to
from tenants.authentication import ApiKeyAuthentication
from tenants.denials import DenialAudit
from tenants.models import Tenant
from tenants.permissions import HasRight
from tenants.rights import Right


class TenantScoped(DenialAudit, APIView):
    """A view below one tenant. `rights` says per method who gets in; what is not listed nobody may do.

    A view whose path names another object than the tenant overrides `find_access`.
    """

    authentication_classes = [JWTAuthentication, ApiKeyAuthentication]
    permission_classes = [HasRight]
    rights: dict[str, Right] = {}

    @cached_property
    def access(self) -> Access:
        return self.find_access()

    def find_access(self) -> Access:
        return access_to(self.request, self.kwargs["tenant_id"])

    @property
    def tenant(self) -> Tenant:
        return self.access.tenant
