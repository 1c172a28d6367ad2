"""The staff's console: its door and its page for one's own password."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse

from accounts.events import tell_refusal
from accounts.forms import StaffLoginForm


class Console(AdminSite):
    login_form = StaffLoginForm

    def password_change(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        user = request.user
        user.changed_by = request
        response = super().password_change(request, extra_context)
        form: Any = getattr(response, "context_data", {}).get("form")
        if form and form.has_error("old_password", "password_incorrect"):
            tell_refusal(
                "user.password_change_refused", "wrong_password", request, email=user.email, user=user
            )
        return response
