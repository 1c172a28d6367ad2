"""Base classes of admin pages that change documents by forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from core.errors import DomainError, PreconditionFailed
from core.mongo.models import Document


class DomainErrorMessages(admin.ModelAdmin):
    """Shows domain errors as messages."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except DomainError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def apply_to_each(
        self, request: HttpRequest, rows: QuerySet, change: Callable[[Any], Any], done: str
    ) -> None:
        """Call `change` with every row; show the number of changed rows, and the error of each other row.

        `done` is the past participle that the number is shown with.
        """
        count = 0
        for row in rows:
            try:
                change(row)
            except DomainError as error:
                self.message_user(request, f"{row}: {error.detail}", messages.ERROR)
            else:
                count += 1
        if count:
            self.message_user(request, f"{done}: {count}.")


class _Versioned(forms.Form):
    """Has the version of the document that the page shows in a hidden field."""

    instance: Document

    version = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["version"] = self.instance.updated_at.isoformat()


class DocumentAdmin(DomainErrorMessages):
    """Saves the fields that a form has changed, unless the document was changed after the page was opened."""

    def get_form(
        self, request: HttpRequest, obj: Document | None = None, change: bool = False, **options: Any
    ) -> type[ModelForm]:
        if self._is_versioned(request, obj):
            options["form"] = type(self.form.__name__, (self.form, _Versioned), {})
        return super().get_form(request, obj, change=change, **options)

    def get_fieldsets(self, request: HttpRequest, obj: Document | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if not self._is_versioned(request, obj):
            return fieldsets
        return [*fieldsets, (None, {"fields": ("version",)})]

    def _is_versioned(self, request: HttpRequest, obj: Document | None) -> bool:
        return obj is not None and self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        fields = {field.name for field in obj._meta.concrete_fields}
        changed = {name: form.cleaned_data[name] for name in form.changed_data if name in fields}
        # The form has set its values on `obj` already.
        stored: Any = type(obj)._base_manager.get(pk=obj.pk)
        seen = form.cleaned_data.get("version") or form.initial["version"]
        if stored.updated_at.isoformat() != seen:
            raise _changed_meanwhile(obj)
        stored.pin()
        try:
            self.change_document(request, stored, changed)
        except PreconditionFailed as error:
            raise _changed_meanwhile(obj) from error

    def change_document(self, request: HttpRequest, stored: Any, changed: dict[str, Any]) -> None:
        """Write the changed fields. A change of many-to-many relations alone makes a new version as well."""
        if not stored.update(**changed):
            stored.touch()


def _changed_meanwhile(obj: Model) -> PreconditionFailed:
    return PreconditionFailed(
        f"The {obj._meta.verbose_name} was changed while this page was open. Nothing was saved: "
        "the page now shows the present values."
    )
