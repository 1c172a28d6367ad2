"""What a view requires of its caller, declared as `permission_classes = [HasRight]` and `rights`."""

from __future__ import annotations

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tenants.access.access import require_active


class HasRight(BasePermission):
    """Requires `view.rights[method]`; a method that is not listed there, or has no handler, is a 405.

    HEAD counts as GET, PATCH as PUT. `view.access` finds the tenant or answers 404; callers without
    any credential get their 401 before that. The 405 comes before any look at ids and bodies, so it
    discloses nothing about them.
    """

    message = "Your role or key does not allow this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.auth is None:
            return False
        right = view.rights.get(_LISTED_AS.get(request.method, request.method))
        if right is None or not hasattr(view, request.method.lower()):
            raise MethodNotAllowed(request.method)
        require_active(view.access.tenant)
        return view.access.may(right)


_LISTED_AS = {"HEAD": "GET", "PATCH": "PUT"}
