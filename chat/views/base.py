"""What the views of conversations share: the session and its access in one read, and pages of a list."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django_filters import FilterSet
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from chat import conversation
from chat.conversation import Conversation
from chat.visitor_policy import error_for_visitor
from chat.visitors import VisitorAuthentication, VisitorCaller
from core.api.middleware import add_log_fields
from core.errors import DomainError
from tenants.access.views import TenantScopedView
from tenants.authentication import ApiKeyAuthentication, MemberAuthentication


class SessionScopedView(TenantScopedView):
    """A view below one session. Its actions begin with `get_conversation()`."""

    authentication_classes = [VisitorAuthentication, MemberAuthentication, ApiKeyAuthentication]

    def handle_exception(self, exc: Exception) -> Response:
        is_public = self.access is not None and self.access.is_public
        if isinstance(exc, DomainError) and (is_public or isinstance(self.request.auth, VisitorCaller)):
            exc = error_for_visitor(exc)
        return super().handle_exception(exc)

    def get_conversation(
        self, session_id: object = None, *, with_messages: bool = False, idempotency_digest: str | None = None
    ) -> Conversation:
        """Return the conversation of the path, or of `session_id`.

        Raises as `chat.conversation.load` and `authorize` do.
        """
        found = conversation.load(
            self.caller,
            self.kwargs["session_id"] if session_id is None else session_id,
            with_messages=with_messages,
            idempotency_digest=idempotency_digest,
        )
        add_log_fields(self.request, session=str(found.session.pk))
        self.authorize(found.access)
        return found


def paginated(
    view: GenericViewSet[Any], queryset: QuerySet[Model], filterset_class: type[FilterSet]
) -> Response:
    """Return a page of `queryset`, narrowed by the query's filters. 400 for bad ones."""
    page = view.paginate_queryset(filtered(view, queryset, filterset_class))
    return view.get_paginated_response(view.get_serializer(page, many=True).data)


def filtered(
    view: GenericViewSet[Any], queryset: QuerySet[Any], filterset_class: type[FilterSet]
) -> QuerySet[Any]:
    """Return `queryset`, narrowed by the query's filters. Raises ValidationError for bad ones."""
    filterset = filterset_class(view.request.query_params, queryset, request=view.request)
    if not filterset.is_valid():
        raise ValidationError(filterset.errors)
    return filterset.qs
