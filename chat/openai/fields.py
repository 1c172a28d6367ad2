"""Fields that take the JSON type they are for and nothing that could be turned into it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def invalid(place: str, sentence: str, code: str = "invalid") -> serializers.ValidationError:
    """Return the error for what stands at `place`, a path such as `messages.0.content`."""
    return serializers.ValidationError({place: [sentence]}, code)


class JSONTyped:
    """Refuses values of other types; where a number is expected, true is none."""

    json_types: tuple[type, ...]
    expected: str

    def to_internal_value(self, data: Any) -> Any:
        if type(data) not in self.json_types:
            raise serializers.ValidationError(f"{self.expected} is expected.", "invalid_type")
        return super().to_internal_value(data)


class JSONText(JSONTyped, serializers.CharField):
    json_types = (str,)
    expected = "A string"


class JSONBoolean(JSONTyped, serializers.BooleanField):
    json_types = (bool,)
    expected = "true or false"


class JSONInteger(JSONTyped, serializers.IntegerField):
    json_types = (int,)
    expected = "A whole number"


class JSONNumber(JSONTyped, serializers.FloatField):
    json_types = (int, float)
    expected = "A number"
