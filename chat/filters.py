"""What lists of sessions and messages can be narrowed by."""

from __future__ import annotations

import django_filters as filters

from chat.models import ChatSession, Message, MessageQuerySet
from core.mongo.ids import object_id

#: Each word of a search costs a look-up of its own.
SEARCH_CHARS = 200


class ObjectIdFilter(filters.CharFilter):
    """Matches a reference by its 24 hex digits; anything else matches nothing."""

    def filter(self, queryset, value):
        if value in filters.constants.EMPTY_VALUES:
            return queryset
        pk = object_id(value)
        return queryset.none() if pk is None else super().filter(queryset, pk)


class SessionFilter(filters.FilterSet):
    status = filters.ChoiceFilter(choices=ChatSession.Status.choices)
    visitor = filters.CharFilter(max_length=100)
    user_id = ObjectIdFilter(field_name="user")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = ChatSession
        fields = ()


class MessageFilter(filters.FilterSet):
    role = filters.ChoiceFilter(choices=Message.Role.choices)
    status = filters.ChoiceFilter(choices=Message.Status.choices)
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(
        method="with_words",
        max_length=SEARCH_CHARS,
        label="Words that all stand in the text, whatever their case and accents.",
    )

    class Meta:
        model = Message
        fields = ()

    def with_words(self, queryset: MessageQuerySet, name: str, value: str) -> MessageQuerySet:
        return queryset.with_words(value)
