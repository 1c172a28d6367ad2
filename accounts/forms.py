"""Forms of the admin for people who sign in with an e-mail address."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm

from accounts.models import User
from core.errors import LimitReached


class StaffLoginForm(AdminAuthenticationForm):
    """Says so when the login is locked; elsewhere this is a 429."""

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except LimitReached as error:
            raise forms.ValidationError(error.detail, code="too_many_failed_logins") from error


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ["email", "name"]


class UserForm(UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"
