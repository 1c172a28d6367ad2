from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, models
from django.db.models import Count, Max, QuerySet, Sum
from django.test.utils import isolate_apps
from django_mongodb_backend.fields import ObjectIdAutoField
from pymongo import MongoClient
from pymongo.errors import BulkWriteError, PyMongoError

from core.mongo.engine.base import DatabaseWrapper
from core.mongo.engine.errors import is_unreachable
from core.mongo.indexes import TTLIndex

pytestmark = pytest.mark.django_db

UNREACHABLE = "mongodb://127.0.0.1:1/?directConnection=true"


def stages(plan: Any) -> list[str]:
    """Return the names of a query plan's stages, outermost first."""
    if not isinstance(plan, dict):
        return []
    own = [plan["stage"]] if "stage" in plan else []
    return own + [name for value in plan.values() for name in stages(value)]


def plan(queryset: QuerySet) -> list[str]:
    return stages(json.loads(queryset.explain())["queryPlanner"]["winningPlan"])


def test_sorting_uses_the_index():
    assert plan(Group.objects.order_by("-name")[:3]) == ["LIMIT", "FETCH", "IXSCAN"]


def test_sorting_is_correct():
    Group.objects.bulk_create(Group(name=name) for name in "bca")
    assert [group.name for group in Group.objects.order_by("-name")] == ["c", "b", "a"]
    assert [group.name for group in Group.objects.order_by("name").only("id")] == ["a", "b", "c"]


def test_a_query_by_a_unique_field_uses_its_index():
    assert plan(Group.objects.filter(name="a")) == ["FETCH", "IXSCAN"]


def test_a_unique_field_is_unique():
    Group.objects.create(name="a")
    with pytest.raises(IntegrityError):
        Group.objects.create(name="a")


@pytest.mark.parametrize(
    "narrowed", [lambda q: q, lambda q: q.distinct(), lambda q: q[:3], lambda q: q.filter(name="a")]
)
def test_aggregates_of_no_rows_are_zero_or_none(narrowed):
    result = narrowed(Group.objects.all()).aggregate(
        rows=Count("id"), names=Count("name", distinct=True), last=Max("name"), total=Sum("id")
    )
    assert result == {"rows": 0, "names": 0, "last": None, "total": None}


def test_a_distinct_count_counts_different_values():
    Group.objects.bulk_create(Group(name=name) for name in "abc")
    assert Group.objects.aggregate(names=Count("name", distinct=True)) == {"names": 3}


@pytest.fixture
def probe() -> Iterator[type[models.Model]]:
    """Return a model with every kind of index, whose collection exists."""
    with isolate_apps("core.mongo"):

        class Probe(models.Model):
            id = ObjectIdAutoField(primary_key=True)
            code = models.CharField(max_length=9)
            alias = models.IntegerField(unique=True, null=True)
            parent = models.ForeignKey("self", models.CASCADE, null=True, unique=True)
            open = models.BooleanField(default=False)
            expires_at = models.DateTimeField(null=True)

            class Meta:
                app_label = "mongo"
                indexes = [TTLIndex(fields=["expires_at"], expire_after_seconds=60, name="expiry")]
                constraints = [
                    models.UniqueConstraint(fields=["code", "alias"], name="pair"),
                    models.UniqueConstraint(fields=["code"], condition=models.Q(open=True), name="one_open"),
                ]

        with connection.schema_editor() as editor:
            editor.create_model(Probe)
        yield Probe
        connection.database.drop_collection(Probe._meta.db_table)


def test_a_ttl_index_is_created_as_declared(probe):
    index = connection.database[probe._meta.db_table].index_information()["expiry"]
    assert index["key"] == [("expires_at", 1)]
    assert index["expireAfterSeconds"] == 60


def test_a_query_by_a_nullable_unique_field_uses_its_index(probe):
    assert plan(probe.objects.filter(alias=1)) == ["FETCH", "IXSCAN"]
    assert plan(probe.objects.filter(parent=ObjectId())) == ["FETCH", "IXSCAN"]
    assert plan(probe.objects.filter(code="a", open=True)) == ["FETCH", "IXSCAN"]


def test_nulls_of_a_unique_field_may_repeat(probe):
    first = probe.objects.create(code="a")
    probe.objects.create(code="a")
    probe.objects.create(code="a", alias=1, parent=first)
    for again in ({"alias": 1}, {"parent": first}):
        with pytest.raises(IntegrityError):
            probe.objects.create(code="b", **again)


def test_a_conditional_constraint_applies_only_where_its_condition_is_true(probe):
    probe.objects.create(code="a")
    probe.objects.create(code="a", open=True)
    with pytest.raises(IntegrityError):
        probe.objects.create(code="a", open=True)


def test_a_ttl_index_can_be_serialized_in_a_migration():
    index = TTLIndex(fields=["expires_at"], expire_after_seconds=60, name="expiry")
    path, args, kwargs = index.deconstruct()
    assert path == "core.mongo.indexes.TTLIndex"
    assert TTLIndex(*args, **kwargs) == index


def test_a_ttl_index_is_on_one_field():
    with pytest.raises(ValueError):
        TTLIndex(fields=["a", "b"], name="expiry")


def test_an_unreachable_database_is_recognized():
    nowhere = {"HOST": UNREACHABLE, "OPTIONS": {"serverSelectionTimeoutMS": 50}}
    dead = DatabaseWrapper({**connection.settings_dict, **nowhere}, alias="dead")
    with pytest.raises(DatabaseError) as failure:
        Group.objects.all().query.get_compiler(connection=dead).execute_sql()
    dead.close_pool()
    assert is_unreachable(failure.value)


def test_an_unreachable_database_is_recognized_in_raw_calls():
    client = MongoClient(UNREACHABLE, serverSelectionTimeoutMS=50)
    with client, pytest.raises(PyMongoError) as failure:
        client.probe.things.find_one()
    assert is_unreachable(failure.value)


def test_a_rejected_write_is_not_an_unreachable_database():
    Group.objects.create(name="a")
    with pytest.raises(IntegrityError) as failure:
        Group.objects.create(name="a")
    assert not is_unreachable(failure.value)


@pytest.mark.parametrize(
    ("write_errors", "concern_errors", "passes"),
    [
        ([], [{"code": 64, "errmsg": "no majority in time"}], True),
        ([{"code": 11000, "errmsg": "duplicate"}], [{"code": 64, "errmsg": "no majority in time"}], True),
        ([{"code": 11000, "errmsg": "duplicate"}], [], False),
    ],
)
def test_bulk_writes_without_a_majority_may_be_retried(write_errors, concern_errors, passes):
    error = BulkWriteError({"writeErrors": write_errors, "writeConcernErrors": concern_errors})
    assert is_unreachable(error) == passes
