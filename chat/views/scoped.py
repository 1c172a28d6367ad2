"""What the views of conversations share: the session in reach, the tenant, the caller, the page of a list."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import JWTAuthentication
from chat import conversation
from chat.conversation import Conversation
from chat.visitors import VisitorAuthentication, VisitorPass
from tenants.access import Access, access_to
from tenants.authentication import ApiKeyAuthentication
from tenants.scoping import TenantScoped


class SessionScoped(TenantScoped):
    """A view below one session: its tenant, the caller's rights and the session come in one read."""

    authentication_classes = [VisitorAuthentication, JWTAuthentication, ApiKeyAuthentication]

    def find_access(self) -> Access:
        self.conversation = self.find_conversation()
        return self.conversation.access

    def find_conversation(self) -> Conversation:
        return conversation.load(self.request, self.kwargs["session_id"])


def tenant_access(request: Request, tenant_id: Any) -> Access:
    """Return the access to the tenant that a body names, or to that of the key."""
    if isinstance(request.auth, Access) and tenant_id is None:
        return request.auth
    if isinstance(request.auth, VisitorPass):
        raise NotFound
    if tenant_id is None:
        raise ValidationError({"tenant_id": ["Name the tenant that the session belongs to."]}, "required")
    return access_to(request, tenant_id)


def is_public(request: Request) -> bool:
    """True for callers on a web page: a visitor's token or a public key."""
    auth = request.auth
    return isinstance(auth, VisitorPass) or (isinstance(auth, Access) and auth.is_shared)


def listed(view: GenericViewSet, filterset: type) -> Response:
    """Return a page of the view's queryset, narrowed by the query's filters. 400 for bad ones."""
    narrowed = filterset(view.request.query_params, view.get_queryset(), request=view.request)
    if not narrowed.is_valid():
        raise ValidationError(narrowed.errors)
    page = view.paginate_queryset(narrowed.qs)
    return view.get_paginated_response(view.get_serializer(page, many=True).data)
