"""Pages of the admin site that belong to no model."""

from __future__ import annotations

from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpResponse
from django.urls import reverse_lazy

from accounts.forms import OwnPasswordForm
from core.api.actors import actor_of
from core.audit.denials import record_denial


class OwnPasswordView(PasswordChangeView):
    """The staff member's own password; a wrong current one is recorded as a denial."""

    success_url = reverse_lazy("admin:password_change_done")

    def get_form_class(self) -> type[OwnPasswordForm]:
        return OwnPasswordForm.with_actor(actor_of(self.request))

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        if form.has_error("old_password", "password_incorrect"):
            actor = actor_of(self.request)
            record_denial(actor, "user.password_change_refused", "wrong_password", form.user)
        return super().form_invalid(form)
