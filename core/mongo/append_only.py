"""Records that are written once: neither code nor staff change or delete one."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models


class Unchangeable(TypeError):
    """Somebody tried to change or delete what is written once."""


class AppendOnlyQuerySet(models.QuerySet):
    def _refuse(self, *args: Any, **values: Any) -> NoReturn:
        raise Unchangeable(f"{self.model._meta.verbose_name_plural} are written once.")

    update = bulk_update = delete = _refuse


class AppendOnly(models.Model):
    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise Unchangeable(f"A {self._meta.verbose_name} is written once.")
        # Forced: a new instance with the id of a stored one would otherwise take its place.
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Unchangeable(f"A {self._meta.verbose_name} is written once.")
