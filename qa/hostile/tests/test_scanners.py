"""Code that takes text apart by hand takes linear time, and so does the validation of every field."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from django.urls import get_resolver
from django_filters import FilterSet
from rest_framework import serializers

from qa.hostile import scanners
from qa.hostile.cost import slowest
from qa.hostile.patterns import GENERAL

_TEXTS = (*GENERAL, "a,", "a;", "a b ", ": ", "1.1.1.1,", "data: {}\n\n", "</think>", "[1,", '{"a":', "&a=")

#: For readers whose cost of a character is higher.
_FEW_TEXTS = ("a", " ", "\n", "<", "\u00e9", "\u202e", "-eyJ", '{"a":', "</think>", "data: {}\n\n")
COSTLIER_SECONDS = 0.5


def texts(length: int) -> Iterator[str]:
    for repeated in _TEXTS:
        yield (repeated * length)[:length]


def test_everything_that_takes_text_apart_is_listed():
    assert scanners.unlisted() == []
    assert scanners.stale() == []


@pytest.mark.parametrize("read", scanners.SCANNERS, ids=lambda read: getattr(read, "__qualname__", str(read)))
def test_text_is_taken_apart_in_linear_time(read, settings):
    settings.TRUSTED_PROXIES = ["*"]
    assert slowest(scanners.quiet(read), texts) is None


@pytest.mark.parametrize("read", scanners.COSTLIER)
def test_costlier_readers_take_linear_time(read):
    def few_texts(length: int) -> list[str]:
        return [(repeated * length)[:length] for repeated in _FEW_TEXTS]

    assert slowest(scanners.quiet(read), few_texts, COSTLIER_SECONDS) is None


def request_fields() -> Iterator[tuple[str, serializers.Field]]:
    """Yield the fields that requests can set, of every serializer of the product; of equal ones the first."""
    get_resolver().url_patterns  # noqa: B018 - imports all views, and so all serializers
    seen = set()
    for found in sorted(descendants(serializers.Serializer), key=lambda found: found.__qualname__):
        is_base = issubclass(found, serializers.ModelSerializer) and not hasattr(found, "Meta")
        if is_base or found.__module__.startswith(("rest_framework", "drf_spectacular")):
            continue
        for name, field in found().fields.items():
            kind = (type(field), repr(field._kwargs))
            is_nested = isinstance(field, serializers.BaseSerializer | serializers.RelatedField)
            if not (field.read_only or is_nested or kind in seen):
                seen.add(kind)
                yield f"{found.__qualname__}.{name}", field


def descendants(base: type) -> set[type]:
    found = set(base.__subclasses__())
    return found.union(*(descendants(one) for one in found))


def test_every_field_validates_text_in_linear_time(db):
    problems = []
    for name, field in request_fields():
        is_list = isinstance(field, serializers.ListField)
        read = scanners.quiet(
            lambda text, field=field, is_list=is_list: field.run_validation([text] if is_list else text)
        )
        if problem := slowest(read, texts):
            problems.append(f"{name}: {problem}")
    assert not problems, "\n".join(problems)


def test_every_filter_validates_text_in_linear_time(db):
    problems = []
    for filterset in descendants(FilterSet):
        if inspect.getmodule(filterset).__name__.startswith("django_filters"):
            continue
        for name, one in filterset.base_filters.items():
            if problem := slowest(scanners.quiet(one.field.clean), texts):
                problems.append(f"{filterset.__name__}.{name}: {problem}")
    assert not problems, "\n".join(problems)
