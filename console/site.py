"""The staff's admin site."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.forms import StaffLoginForm
from console.views import OwnPasswordView


class ConsoleSite(AdminSite):
    site_title = site_header = "Chat Agent Platform"
    login_form = StaffLoginForm

    def password_change(  # type: ignore[override]  # The stub leaves out the redirect after a change.
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        context = {**self.each_context(request), **(extra_context or {})}
        return OwnPasswordView.as_view(extra_context=context)(request)
