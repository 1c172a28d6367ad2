"""What the views of conversations share: the session in reach, the tenant, the caller, the page of a list."""

from __future__ import annotations

from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat import conversation
from chat.conversation import Conversation
from chat.visitors import VisitorAuthentication
from core.api.middleware import add_log_fields
from tenants.access import Access
from tenants.access.views import TenantScopedView
from tenants.authentication import ApiKeyAuthentication, MemberAuthentication


class SessionScoped(TenantScopedView):
    """A view below one session: its tenant, the caller's rights and the session come in one read."""

    authentication_classes = [VisitorAuthentication, MemberAuthentication, ApiKeyAuthentication]

    def find_access(self) -> Access:
        self.conversation = self.find_conversation()
        session = self.conversation.session
        add_log_fields(self.request, tenant=str(session.tenant.pk), session=str(session.pk))
        return self.conversation.access

    def find_conversation(self) -> Conversation:
        return conversation.load(self.caller, self.kwargs["session_id"])


def listed(view: GenericViewSet, filterset: type) -> Response:
    """Return a page of the view's queryset, narrowed by the query's filters. 400 for bad ones."""
    narrowed = filterset(view.request.query_params, view.get_queryset(), request=view.request)
    if not narrowed.is_valid():
        raise ValidationError(narrowed.errors)
    page = view.paginate_queryset(narrowed.qs)
    return view.get_paginated_response(view.get_serializer(page, many=True).data)
