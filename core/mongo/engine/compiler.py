"""Patches of django-mongodb-backend's compilers (checked with 5.2.4).

Sorts use indexes, and aggregates of no rows return 0 or None instead of an exception.
"""

from __future__ import annotations

from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.compiler import SQLDeleteCompiler, SQLInsertCompiler, SQLUpdateCompiler
from django_mongodb_backend.query import MongoQuery

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]


class SQLCompiler(compiler.SQLCompiler):
    def build_query(self, columns: tuple[Any, ...] | None = None) -> MongoQuery:
        """Return the query without `$addFields: {x: "$x"}`, which keeps `$sort` from using an index."""
        query = super().build_query(columns)
        if query.extra_fields:
            query.extra_fields = {
                name: value for name, value in query.extra_fields.items() if value != f"${name}"
            }
        return query

    def _build_aggregation_pipeline(
        self, ids: dict[str, Any] | None, group: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the stages; distinct values of no rows are an empty set.

        Upstream leaves the set out, and then `aggregate(Count(x, distinct=True))` is a DatabaseError.
        """
        pipeline: list[dict[str, Any]] = super()._build_aggregation_pipeline(ids, group)
        if not ids:
            computed = pipeline[-1]["$addFields"]
            for name, expression in group.items():
                if expression and "$addToSet" in expression:
                    computed[name] = {"$ifNull": [computed[name], []]}
        return pipeline


class SQLAggregateCompiler(compiler.SQLAggregateCompiler, SQLCompiler):
    def _make_result(self, result: dict[str, Any], columns: tuple[Any, ...] | None = None) -> list[Any]:
        # A distinct or sliced set of no rows is a document without the aggregates, and upstream's
        # result[name] a KeyError (a 500 in the admin's date hierarchy).
        return [result.get(name) for name in self.query.annotation_select]
