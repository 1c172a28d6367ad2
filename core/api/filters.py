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


class DateTimeFilter(filters.IsoDateTimeFilter):
    field_class = UTCDateTimeField
