"""A patch of django-mongodb-backend's lookups (checked with 5.2.4): `prefetch_related` uses indexes."""

from __future__ import annotations

from typing import Any

from django.db.models.fields.tuple_lookups import TupleIn
from django.db.models.lookups import In

_upstream: Any = getattr(TupleIn, "as_mql")  # noqa: B009 - the backend adds it; Django's types don't have it


def _tuple_in(lookup: Any, compiler: Any, connection: Any, as_expr: bool = False) -> dict[str, Any]:
    """Translate `(a) IN ((1), (2))`, which a prefetch filters by, as `a IN (1, 2)`.

    Upstream translates it to an `$expr`, for which the server scans the whole collection.
    """
    columns = lookup.lhs.get_cols() if hasattr(lookup.lhs, "get_cols") else []
    if len(columns) == 1 and lookup.rhs_is_direct_value():
        lookup = In(columns[0], [value for (value,) in lookup.rhs])
    translated: dict[str, Any] = _upstream(lookup, compiler, connection, as_expr=as_expr)
    return translated


def patch() -> None:
    setattr(TupleIn, "as_mql", _tuple_in)  # noqa: B010 - the backend does the same
