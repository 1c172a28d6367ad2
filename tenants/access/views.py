"""The base class of every view below a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api import refused_bodies
from core.api.middleware import add_log_fields
from core.errors import NotFound, Unavailable
from core.mongo.ids import object_id
from tenants.access.access import Access
from tenants.access.callers import TenantCaller
from tenants.access.permission import HasRight
from tenants.access.rights import Right
from tenants.authentication import ApiKeyAuthentication, MemberAuthentication
from tenants.denials import DenialAudit
from tenants.models import Tenant


class TenantScopedView(DenialAudit, APIView):
    """A view below one tenant. `rights` names per method what it requires; other methods are not offered.

    Each action begins with the step that finds its tenant and checks the caller's access to it:
    `get_tenant()`, or what a subclass has instead. An action that responds without it is a server error.
    """

    authentication_classes = [MemberAuthentication, ApiKeyAuthentication]
    permission_classes = [HasRight]
    rights: Mapping[str, Right] = {}

    _authorized: Access | None = None

    @property
    def caller(self) -> TenantCaller:
        """Only for requests with a credential: all others have been answered 401."""
        return cast(TenantCaller, self.request.auth)

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if request.auth is not None:
            self.access = self.caller.known_access  # so that denials before `authorize` name the key

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        refused_bodies.check(request)

    def handle_exception(self, exc: Exception) -> Response:
        try:
            refused_bodies.count(self.request, exc)
        except Unavailable as error:
            exc = error
        return super().handle_exception(exc)

    def get_tenant(self) -> Tenant:
        """Return the tenant of the path. Raises as `get_access` does."""
        return self.get_access().tenant

    def get_access(self) -> Access:
        """Return the caller's access to the tenant of the path, found and checked by the first call.

        Raises as `access_to` and `authorize` do.
        """
        return self._authorized or self.authorize(self.access_to(self.kwargs["tenant_id"]))

    def access_to(self, tenant_id: object) -> Access:
        """Return the caller's access to a tenant, not checked yet.

        Raises NotFound for a tenant that is missing, deleted, malformed or foreign, all alike, and
        TenantSuspended.
        """
        wanted = object_id(tenant_id)
        access = self.caller.access_to(wanted) if wanted else None
        if access is None:
            raise NotFound
        return access

    def authorize(self, access: Access) -> Access:
        """Return `access` if it has the right that the method requires; count the request.

        Denied requests do not count against the endpoint's rate. Raises PermissionDenied and LimitReached.
        """
        self.access = access  # for the audit of denials, whether or not it is enough
        add_log_fields(self.request, tenant=str(access.tenant.pk))
        self.check_object_permissions(self.request, access)
        super().check_throttles(self.request)
        self._authorized = access
        return access

    def check_throttles(self, request: Request) -> None:
        """Do nothing yet: `authorize` counts."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if response.status_code < 400 and self._authorized is None:
            raise RuntimeError(f"{request.method} of {type(self).__name__} did not check the access.")
        return super().finalize_response(request, response, *args, **kwargs)
