"""Serializers for documents: ObjectIds as 24 hex digits, and unknown fields are errors."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from django_mongodb_backend.fields import ObjectIdAutoField, ObjectIdField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.errors import MAX_FIELD_ERRORS
from core.api.suggestions import name_choices, probably_meant

OBJECT_ID = re.compile(r"[0-9a-f]{24}")


@extend_schema_field({"type": "string", "pattern": "^[0-9a-f]{24}$", "example": "665f1c0a2b3c4d5e6f708192"})
class ObjectIdStringField(serializers.Field[ObjectId, str, str, Any]):
    """An ObjectId as 24 lower-case hex digits."""

    default_error_messages = {"invalid": "Not an id: 24 hexadecimal digits are expected."}

    def to_internal_value(self, data: Any) -> ObjectId:
        if not isinstance(data, str) or not OBJECT_ID.fullmatch(data):
            self.fail("invalid")
        return ObjectId(data)

    def to_representation(self, value: ObjectId) -> str:
        return str(value)


_NUMBER_FIELDS = (serializers.IntegerField, serializers.FloatField, serializers.DecimalField)

if TYPE_CHECKING:
    _Base = serializers.Serializer[Any]
else:
    _Base = object


class StrictMixin(_Base):
    """Rejects unknown fields, read-only fields, and values of another JSON type that DRF would convert.

    Numbers are no text, texts and `true` are no numbers, and texts and numbers are neither true nor false.
    """

    def get_fields(self) -> Any:
        fields = super().get_fields()
        for field in fields.values():
            name_choices(field)
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            rejections = ((name, why) for name in data if (why := self._rejection(name, data[name])))
            if errors := {name: [why] for name, why in islice(rejections, MAX_FIELD_ERRORS)}:
                raise serializers.ValidationError(errors)
        return super().to_internal_value(data)

    def _rejection(self, name: str, value: object) -> serializers.ErrorDetail | None:
        field = self.fields.get(name)
        if field is None:
            meant = probably_meant(
                name, (known for known, field in self.fields.items() if not field.read_only)
            )
            hint = f" Did you mean {meant}?" if meant else ""
            return serializers.ErrorDetail(f"There is no such field.{hint}", "unknown_field")
        if field.read_only:
            return serializers.ErrorDetail("This field can't be set.", "read_only_field")
        if isinstance(field, serializers.CharField) and isinstance(value, int | float):
            return serializers.ErrorDetail("Not a valid string.", "invalid")
        if isinstance(field, _NUMBER_FIELDS) and isinstance(value, str | bool):
            return serializers.ErrorDetail("Not a valid number.", "invalid")
        if isinstance(field, serializers.BooleanField) and isinstance(value, str | int | float):
            is_boolean = isinstance(value, bool)
            return None if is_boolean else serializers.ErrorDetail("Write true or false.", "invalid")
        return None


class BoundedListField(serializers.ListField):
    """A list whose `max_length` is checked before its items are: a longer one costs nothing."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        items: list[Any] = super().to_internal_value(data)
        return items


class StrictSerializer(StrictMixin, serializers.Serializer[Any]):
    """A plain serializer that rejects unknown fields."""


class DocumentSerializer(StrictMixin, serializers.ModelSerializer[Any]):
    """A model serializer for MongoDB documents."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        ObjectIdAutoField: ObjectIdStringField,
        ObjectIdField: ObjectIdStringField,
    }

    def build_relational_field(self, field_name: str, relation_info: Any) -> Any:
        field_class, options = super().build_relational_field(field_name, relation_info)
        options["pk_field"] = ObjectIdStringField()
        return field_class, options

    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        """Write only what was sent and differs. Raises as `Document.update` does."""
        instance.update(**validated_data)
        return instance


def validated(serializer: serializers.BaseSerializer[Any]) -> dict[str, Any]:
    """Return the validated data of a serializer. Raises ValidationError."""
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data
