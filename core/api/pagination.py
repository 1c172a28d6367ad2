"""Lists come in cursor pages: `{"results": [], "next": url|null, "previous": url|null}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

if TYPE_CHECKING:  # DRF's views import this module.
    from rest_framework.views import APIView


#: A page ends with the row that reaches so many characters of text, though more were requested: a hundred
#: messages of a megabyte each would take a worker's memory, for as long as a client takes to read them.
MAX_PAGE_CHARS = 1_000_000


class CursorPages(CursorPagination):
    """Cursor pages of `page_size` (20, at most 100) rows, newest first; of fewer if the rows are very large.

    A view's `orderings` maps the values of `?ordering=` to tuples of fields; each ends with the id,
    without which rows of equal value could be lost between two pages.

    A cursor is a position, unsigned: an altered one is another position in the same list, which begins with
    what the caller may see, or a 400.
    """

    page_size = 20
    max_page_size = 100
    page_size_query_param = "page_size"
    ordering = ("-created_at", "-id")

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Return what `get_ordering` and `get_page_size` accept, for the OpenAPI schema."""
        orderings = list(getattr(view, "orderings", {}))
        size = {
            "type": "integer",
            "minimum": 1,
            "maximum": self.max_page_size,
            "default": self.page_size,
            "description": f"A page ends earlier with the row that reaches {MAX_PAGE_CHARS:,} characters.",
        }
        parameters: dict[str, dict[str, Any]] = {"page_size": size, "cursor": {"type": "string"}}
        if orderings:
            parameters["ordering"] = {"type": "string", "enum": orderings, "default": orderings[0]}
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in parameters.items()
        ]

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> tuple[str, ...]:
        orderings: dict[str, tuple[str, ...]] = getattr(view, "orderings", {})
        requested = request.query_params.get("ordering")
        if requested is None:
            return next(iter(orderings.values()), self.ordering)
        if requested not in orderings:
            raise ValidationError({"ordering": [f"Choose one of: {', '.join(orderings) or 'none'}."]})
        return orderings[requested]

    def get_page_size(self, request: Request) -> int:
        requested = request.query_params.get(self.page_size_query_param)
        if requested is None:
            return self.page_size
        if not (
            requested.isascii()
            and requested.isdigit()
            and len(requested) < 4
            and 1 <= int(requested) <= self.max_page_size
        ):
            raise ValidationError({"page_size": [f"A number from 1 to {self.max_page_size} is expected."]})
        return int(requested)

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            return super().paginate_queryset(_PageOf(self, queryset), request, view)  # type: ignore[arg-type]  # has what is used
        except (NotFound, InvalidValue, ValueError, TypeError, OverflowError) as error:
            # One that does not decode was altered or cut off.
            raise ValidationError({"cursor": ["This is not a cursor of this list."]}) from error


class _PageOf:
    """The methods of a queryset that CursorPagination uses; of a slice it reads no more than a page may hold.

    `paginator.page_size` becomes the number of rows on the page: the next row is that of the next page.
    """

    def __init__(self, paginator: CursorPages, queryset: QuerySet[Any] | Sequence[Any]) -> None:
        self._paginator = paginator
        self._queryset: Any = queryset

    def order_by(self, *fields: str) -> _PageOf:
        return _PageOf(self._paginator, self._queryset.order_by(*fields))

    def filter(self, **conditions: Any) -> _PageOf:
        return _PageOf(self._paginator, self._queryset.filter(**conditions))

    def __getitem__(self, wanted: slice) -> list[Any]:
        rows: list[Any] = []
        chars = 0
        for row in self._queryset[wanted].iterator(chunk_size=1):
            rows.append(row)
            if chars >= MAX_PAGE_CHARS:  # Reached before this row, which follows the page.
                self._paginator.page_size = len(rows) - 1
                break
            chars += sum(len(value) for value in vars(row).values() if isinstance(value, str))
        return rows
