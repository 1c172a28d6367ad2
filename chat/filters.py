"""Filters for lists of sessions and messages."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django import forms
from django.db.models import QuerySet
from django_filters.constants import EMPTY_VALUES

from chat.models import MAX_VISITOR_LENGTH, ChatSession, Message, MessageQuerySet
from core.api.filters import ChoiceFilter, DateTimeFilter
from core.mongo.ids import object_id
from core.text import normalised_identifier

#: Each word of a search takes a look-up in the text index.
MAX_SEARCH_CHARS = 200

#: The largest number that the database compares with those of messages.
MAX_SEQ = 2**31 - 1


class ObjectIdFilter(filters.CharFilter):
    """Matches a reference by its 24 hex digits; anything else matches nothing."""

    def filter(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        if value in EMPTY_VALUES:
            return queryset
        pk = object_id(value)
        return queryset.none() if pk is None else super().filter(queryset, pk)


class IntegerFilter(filters.Filter):
    field_class = forms.IntegerField


class IdentifierFilter(filters.CharFilter):
    """Matches an identifier in whichever form it is sent."""

    def filter(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return super().filter(queryset, normalised_identifier(value or ""))


class SessionFilter(filters.FilterSet):
    status = ChoiceFilter(choices=ChatSession.Status.choices)
    visitor = IdentifierFilter(max_length=MAX_VISITOR_LENGTH)
    user_id = ObjectIdFilter(field_name="user")
    created_after = DateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = DateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = ChatSession
        fields = ()


class MessageFilter(filters.FilterSet):
    role = ChoiceFilter(choices=Message.Role.choices)
    status = ChoiceFilter(choices=Message.Status.choices)
    created_after = DateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = DateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(
        method="with_words",
        max_length=MAX_SEARCH_CHARS,
        label="Words that must all occur in the text, or emoji; in Chinese, Japanese, Thai, Korean any part. "
        "Case and accents are ignored.",
    )

    class Meta:
        model = Message
        fields = ()

    def with_words(self, queryset: MessageQuerySet, name: str, value: str) -> MessageQuerySet:
        return queryset.with_words(value)


class SessionMessageFilter(MessageFilter):
    """Also by the place in the conversation."""

    before = IntegerFilter(
        field_name="seq", lookup_expr="lt", min_value=0, max_value=MAX_SEQ, label="Messages of a lower seq."
    )
    after = IntegerFilter(
        field_name="seq", lookup_expr="gt", min_value=0, max_value=MAX_SEQ, label="Messages of a higher seq."
    )
