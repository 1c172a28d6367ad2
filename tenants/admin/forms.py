"""Forms of the staff's console."""

from __future__ import annotations

from typing import Any

from django import forms
from rest_framework.exceptions import ValidationError

from tenants.models import ApiKey, Tenant
from tenants.models.api_key import Scope
from tenants.serializers import ApiKeySerializer, TenantSerializer


def _check(form: forms.ModelForm, serializer: Any, fields: list[str]) -> None:
    """Add to `form` what the API would refuse in `fields`, so that staff and clients meet one rule."""
    for name in fields:
        value = form.cleaned_data.get(name)
        if not value:
            continue
        try:
            form.cleaned_data[name] = serializer.fields[name].run_validation(value)
            if check := getattr(serializer, f"validate_{name}", None):
                form.cleaned_data[name] = check(form.cleaned_data[name])
        except ValidationError as error:
            form.add_error(name, str(next(iter(error.detail))))


class TenantForm(forms.ModelForm):
    class Meta:
        model = Tenant
        fields = (
            "name",
            "domain",
            "allowed_origins",
            "plan",
            "requested_plan",
            "system_prompt",
            "route",
            "temperature",
            "max_tokens",
            "history_messages",
            "retention_days",
        )

    def clean(self) -> None:
        super().clean()
        _check(self, TenantSerializer(), ["allowed_origins", "domain"])
        _check(self, TenantSerializer().fields["settings"], ["route"])


class NewApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        initial=list(Scope.values),
        help_text="What a secret key may do. A public key opens sessions and sends in them, nothing else.",
    )

    class Meta:
        model = ApiKey
        fields = (
            "tenant",
            "name",
            "kind",
            "environment",
            "scopes",
            "allowed_origins",
            "allowed_networks",
            "allowed_models",
            "expires_at",
        )

    def clean(self) -> None:
        super().clean()
        lists = ["allowed_origins", "allowed_networks", "allowed_models"]
        _check(self, ApiKeySerializer(), [*lists, "expires_at"])
        if self.cleaned_data.get("kind") == ApiKey.Kind.PUBLIC:
            self.cleaned_data["scopes"] = []
