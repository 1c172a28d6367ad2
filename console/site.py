"""The staff's admin site."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.forms import StaffLoginForm
from console.views import OwnPasswordView


class ConsoleSite(AdminSite):
    site_title = site_header = "Chat Agent Platform"
    login_form = StaffLoginForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, StaffLoginForm) and form.reached_a_limit:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        return response

    def get_urls(self) -> list[Any]:
        """Leave out the links to objects' own pages: there are none, and the pattern takes quadratic time."""
        return [entry for entry in super().get_urls() if getattr(entry, "name", None) != "view_on_site"]

    def password_change(  # type: ignore[override]  # The stub leaves out the redirect after a change.
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        context = {**self.each_context(request), **(extra_context or {})}
        return OwnPasswordView.as_view(extra_context=context)(request)
