"""Forms of the admin site. What the API would refuse in a field, they refuse with the same message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from rest_framework.exceptions import ValidationError

from tenants.models import ApiKey, Tenant
from tenants.models.api_key import Scope
from tenants.models.tenant import VisitorField
from tenants.serializers import ApiKeySerializer, TenantSerializer


class CommaSeparatedField(forms.Field):
    """A list of texts. They are only split here; the serializer validates them."""

    widget = forms.TextInput(attrs={"class": "vTextField"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, **options})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        items = value if isinstance(value, list) else (value or "").split(",")
        return [item for item in map(str.strip, items) if item]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial) != self.to_python(data)


def _validate_with(form: forms.ModelForm, serializer: Any, names: list[str]) -> None:
    """Replace the form's values by those that `serializer` validated; add its errors to the form."""
    for name in names:
        value = form.cleaned_data.get(name)
        if not value:
            continue
        try:
            value = serializer.fields[name].run_validation(value)
            if validate := getattr(serializer, f"validate_{name}", None):
                value = validate(value)
        except ValidationError as error:
            form.add_error(name, list(_sentences(error.detail)))
        else:
            form.cleaned_data[name] = value


def _sentences(detail: Any) -> Iterator[str]:
    """Yield the messages of a serializer's error, those of list items too."""
    if isinstance(detail, dict):
        detail = detail.values()
    for each in detail:
        if isinstance(each, str):
            yield str(each)
        else:
            yield from _sentences(each)


class TenantForm(forms.ModelForm):
    allowed_origins = CommaSeparatedField(
        help_text="Where public keys work: https://host, https://*.host or *, separated by commas."
    )
    route = CommaSeparatedField(
        help_text="provider or provider/model, separated by commas, in the order in which they are tried."
    )

    visitor_fields = forms.MultipleChoiceField(
        choices=VisitorField.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="What pages and their visitors may set by themselves, beside their words.",
    )

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
            "visitor_fields",
        )

    def clean(self) -> None:
        super().clean()
        serializer = TenantSerializer()
        _validate_with(self, serializer, ["allowed_origins", "domain"])
        _validate_with(self, serializer.fields["settings"], ["route"])


class NewApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        initial=list(Scope.values),
        help_text="What a secret key may do. A public key may open sessions and send messages in them.",
    )
    allowed_origins = CommaSeparatedField(
        help_text="For a public key: https://host, https://*.host or *, separated by commas. "
        "Empty: those of the tenant."
    )
    allowed_networks = CommaSeparatedField(
        help_text="Addresses or networks such as 192.0.2.0/24, separated by commas. Empty: any."
    )
    allowed_models = CommaSeparatedField(help_text="provider/model, separated by commas. Empty: any.")

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
            "allow_browser",
            "expires_at",
        )

    def clean(self) -> None:
        super().clean()
        _validate_with(
            self, ApiKeySerializer(), ["allowed_origins", "allowed_networks", "allowed_models", "expires_at"]
        )
        if self.cleaned_data.get("kind") == ApiKey.Kind.PUBLIC:
            self.cleaned_data["scopes"] = []
            self.cleaned_data["allow_browser"] = False
