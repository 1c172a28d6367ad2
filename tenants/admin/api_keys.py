"""API keys in the admin site."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from core.admin import DomainErrorMessages
from core.api.actors import actor_of
from tenants.admin.base import TenantOwnedAdmin, has_permission
from tenants.admin.forms import NewApiKeyForm
from tenants.models import ApiKey
from tenants.models.api_key import IssuedKey

#: How long a key stays valid after staff rotate it.
OVERLAP = timedelta(hours=1)


@admin.register(ApiKey)
class ApiKeyAdmin(DomainErrorMessages, TenantOwnedAdmin):
    """Issues, rotates and revokes keys. A secret is shown on one page, once."""

    list_display = (
        "name",
        "tenant",
        "kind",
        "environment",
        "prefix",
        "last_four",
        "state",
        "last_used_at",
        "created_at",
    )
    list_filter = ("kind", "environment", ("revoked_at", admin.EmptyFieldListFilter))
    own_search_fields = ("prefix", "name")
    raw_id_fields = ("tenant",)
    fields = (
        "tenant",
        "name",
        "kind",
        "environment",
        "prefix",
        "last_four",
        "state",
        "scopes",
        "allowed_origins",
        "allowed_networks",
        "allowed_models",
        "allow_browser",
        "expires_at",
        "revoked_at",
        "replaced_by",
        "created_by",
        "last_used_at",
        "last_used_address",
        "last_used_origin",
        "created_at",
    )
    actions = ("revoke", "rotate")

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        if not key.is_usable:
            return "expired"
        return "being replaced" if key.replaced_by_id else "active"

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **options: Any
    ) -> type[ModelForm]:
        if obj is None:
            options["form"] = NewApiKeyForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return self.fields if obj else NewApiKeyForm.Meta.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return has_permission(request, "tenants.add_apikey")

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm, change: bool) -> None:
        issued = ApiKey.objects.issue(by=actor_of(request), **form.cleaned_data)
        obj.pk = issued.key.pk
        request.issued_key = issued  # type: ignore[attr-defined]  # for response_add

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        issued = request.issued_key  # type: ignore[attr-defined]  # from save_model
        return self._secrets_page(request, [issued], "The key is valid from now on.")

    @admin.action(description="Revoke, from the next request on", permissions=["manage"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        usable = keys.filter(revoked_at=None)
        self.apply_to_each(request, usable, lambda key: key.revoke(actor_of(request)), "Revoked")

    @admin.action(
        description="Rotate: new secret, the old one stays valid for an hour", permissions=["manage"]
    )
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        issued: list[IssuedKey] = []
        self.apply_to_each(
            request,
            keys,
            lambda key: issued.append(key.rotate(overlap=OVERLAP, by=actor_of(request))),
            "Rotated",
        )
        if not issued:
            return None
        return self._secrets_page(request, issued, "The keys they replace stay valid for one hour.")

    def _secrets_page(self, request: HttpRequest, issued: list[IssuedKey], explanation: str) -> HttpResponse:
        """Show the secrets on a page of their own: a message would be stored in a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": "New secrets",
            "issued_keys": issued,
            "explanation": explanation,
        }
        return TemplateResponse(request, "admin/tenants/apikey/secrets.html", context)
