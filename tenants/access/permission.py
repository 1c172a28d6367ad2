"""How the access of a caller is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tenants.access.misplaced_credentials import refuse_key_as_token
from tenants.access.rights import Right

if TYPE_CHECKING:
    from tenants.access.views import TenantScopedView


class HasRight(BasePermission):
    """Requires the right that `view.rights` names for the method. HEAD counts as GET, PATCH as PUT.

    `has_permission` comes before any query: 401 without a credential, 405 for a method that the view does
    not list or handle, so that neither discloses anything about ids and bodies. `has_object_permission`
    checks the access that the view has found: `view.authorize(access)` calls it, and DRF's `get_object` for
    an object of the tenant.
    """

    message = "Your role or key does not allow this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.auth is None:
            refuse_key_as_token(request)
            return False
        method = request.method or ""
        if _required_right(request, view) is None or not hasattr(view, method.lower()):
            raise MethodNotAllowed(method)
        return True

    def has_object_permission(self, request: Request, view: APIView, obj: object) -> bool:
        access = cast("TenantScopedView", view).access
        right = _required_right(request, view)
        return access is not None and right is not None and access.may(right)


_LISTED_AS = {"HEAD": "GET", "PATCH": "PUT"}


def _required_right(request: Request, view: APIView) -> Right | None:
    method = request.method or ""
    return cast("TenantScopedView", view).rights.get(_LISTED_AS.get(method, method))
