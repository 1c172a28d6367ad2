"""django-mongodb-backend's lookups, mended: `prefetch_related` uses indexes."""

from __future__ import annotations

from typing import Any

from django.db.models.fields.tuple_lookups import TupleIn
from django.db.models.lookups import In

_upstream = TupleIn.as_mql


def _tuple_in(lookup: TupleIn, compiler: Any, connection: Any, as_expr: bool = False) -> dict[str, Any]:
    """Return `(a) IN ((1), (2))`, as a prefetch asks for, as `a IN (1, 2)`.

    Upstream makes it an `$expr`, for which the server scans the whole collection.
    """
    columns = lookup.lhs.get_cols() if hasattr(lookup.lhs, "get_cols") else []
    if len(columns) == 1 and lookup.rhs_is_direct_value():
        lookup = In(columns[0], [value for (value,) in lookup.rhs])
    return _upstream(lookup, compiler, connection, as_expr=as_expr)


def mend() -> None:
    TupleIn.as_mql = _tuple_in
