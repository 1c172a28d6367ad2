"""Lists come in pages: `{"results": [], "next": url|null, "previous": url|null}`."""

from __future__ import annotations

from django.core.exceptions import ValidationError as InvalidValue
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination


class CursorPages(CursorPagination):
    """Cursor pages of `page_size` (20, at most 100) rows, newest first.

    A view's `orderings` maps what `?ordering=` may say to field tuples; each
    ends with the id, without which rows of equal value could be lost between
    two pages.
    """

    page_size = 20
    max_page_size = 100
    page_size_query_param = "page_size"
    ordering = ("-created_at", "-id")

    def get_schema_operation_parameters(self, view):
        """Return what `get_ordering` and `get_page_size` accept, for the API's description."""
        orderings = list(getattr(view, "orderings", {}))
        size = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        wanted = {"page_size": size, "cursor": {"type": "string"}}
        if orderings:
            wanted["ordering"] = {"type": "string", "enum": orderings, "default": orderings[0]}
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in wanted.items()
        ]

    def get_ordering(self, request, queryset, view):
        orderings = getattr(view, "orderings", {})
        wanted = request.query_params.get("ordering")
        if wanted is None:
            return next(iter(orderings.values()), self.ordering)
        if wanted not in orderings:
            raise ValidationError({"ordering": [f"Choose one of: {', '.join(orderings) or 'none'}."]})
        return orderings[wanted]

    def get_page_size(self, request):
        wanted = request.query_params.get(self.page_size_query_param)
        if wanted is None:
            return self.page_size
        if not (
            wanted.isascii()
            and wanted.isdigit()
            and len(wanted) < 4
            and 1 <= int(wanted) <= self.max_page_size
        ):
            raise ValidationError({"page_size": [f"A number from 1 to {self.max_page_size} is expected."]})
        return int(wanted)

    def paginate_queryset(self, queryset, request, view=None):
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, InvalidValue, ValueError, TypeError) as error:
            # A cursor is made by us; one that does not decode was altered or cut.
            raise ValidationError({"cursor": ["This is not a cursor of this list."]}) from error
