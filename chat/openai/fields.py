"""Fields that accept one JSON type and convert nothing: OpenAI's API rejects `"0.5"` for a number."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def invalid(path: str, detail: str, code: str = "invalid") -> serializers.ValidationError:
    """Return the error for the value at `path`, such as `messages.0.content`."""
    return serializers.ValidationError({path: [detail]}, code)


class JSONTyped(serializers.Field[Any, Any, Any, Any]):
    """Rejects values of other types; `true` is not a number."""

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
