"""Pages that links in mails open. They hold no data: their script sends the link's token to the API."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.views.generic import TemplateView


class MailedPage(TemplateView):
    http_method_names = ["get", "head"]
    title = ""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        site = {"site_title": admin.site.site_title, "site_header": admin.site.site_header}
        return super().get_context_data(**kwargs, **site, title=self.title)


class InvitationPage(MailedPage):
    template_name = "pages/invitation.html"
    title = "Accept an invitation"


class PasswordResetPage(MailedPage):
    template_name = "pages/password_reset.html"
    title = "Set a new password"


class ConfirmEmailPage(MailedPage):
    template_name = "pages/confirm_email.html"
    title = "Confirm your e-mail address"
