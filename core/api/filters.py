"""Filters that lists share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import django_filters as filters
from django.core.exceptions import ValidationError
from django_filters.fields import IsoDateTimeField


class UTCDateTimeField(IsoDateTimeField):
    """A time of any offset, as its time in UTC. Of year 1 and 9999 some have none: they are invalid."""

    def clean(self, value: Any) -> datetime | None:
        try:
            moment: datetime | None = super().clean(value)
            return moment and moment.astimezone(UTC)
        except (OverflowError, ValueError) as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class ChoiceField(filters.fields.ChoiceField):
    """Its error names the values that it takes."""

    def validate(self, value: Any) -> None:
        try:
            super().validate(value)
        except ValidationError as error:
            listed = ", ".join(value for value, _ in self.widget.choices if value)
            raise ValidationError(f"Choose one of: {listed}.", code="invalid_choice") from error


class ChoiceFilter(filters.ChoiceFilter):
    field_class = ChoiceField


class DateTimeFilter(filters.IsoDateTimeFilter):
    field_class = UTCDateTimeField
