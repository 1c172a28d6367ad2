"""Append-only records: written once, and never changed or deleted by code or staff."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from django.db import models

_Model = TypeVar("_Model", bound=models.Model)


class AppendOnlyError(TypeError):
    """An append-only record was to be changed or deleted."""


class AppendOnlyQuerySet(models.QuerySet[_Model]):
    def _refuse(self, *args: Any, **values: Any) -> NoReturn:
        raise AppendOnlyError(f"{self.model._meta.verbose_name_plural} are append-only.")

    update = bulk_update = delete = _refuse


class AppendOnly(models.Model):
    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(f"A {self._meta.verbose_name} is append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(f"A {self._meta.verbose_name} is append-only.")
