"""Forms of the admin for users who are identified by an e-mail address."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.forms import AdminPasswordChangeForm as DjangoOwnPasswordForm
from django.contrib.auth.forms import AdminPasswordChangeForm as DjangoStaffPasswordForm
from django.contrib.auth.forms import AdminUserCreationForm, SetPasswordMixin, UserChangeForm
from django.core.exceptions import NON_FIELD_ERRORS

from accounts.lockout import require_login_rate
from accounts.models import User
from core.audit.models import Actor
from core.errors import LimitReached, Unavailable


class StaffLoginForm(AdminAuthenticationForm):
    """Counts logins per network address together with those of the API; a limit is an error of the form."""

    #: The code of the error with which a limit is shown.
    LIMIT_REACHED = "too_many_logins"

    def clean(self) -> dict[str, Any]:
        try:
            if self.request is not None:
                require_login_rate(self.request)
            return super().clean()
        except (LimitReached, Unavailable) as error:
            raise forms.ValidationError(error.detail, code=self.LIMIT_REACHED) from error

    @property
    def reached_a_limit(self) -> bool:
        return self.has_error(NON_FIELD_ERRORS, self.LIMIT_REACHED)


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ["email", "name"]


class UserForm(UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"


class RecordedPasswordForm(SetPasswordMixin):
    """Mixin for Django's password forms: the change is recorded as done by `actor`."""

    actor: ClassVar[Actor]

    @classmethod
    def with_actor(cls, actor: Actor) -> type[Self]:
        """Return this form for one request: Django's pages construct their forms without it."""
        return type(cls.__name__, (cls,), {"actor": actor, "__module__": cls.__module__})

    def set_password_and_save(
        self,
        user: User,
        password_field_name: str = "password1",  # noqa: S107 - the name of a field
        commit: bool = True,
    ) -> User:
        super().set_password_and_save(user, password_field_name=password_field_name, commit=False)
        if commit:
            user.save(by=self.actor)
        return user


class OwnPasswordForm(RecordedPasswordForm, DjangoOwnPasswordForm):
    """Changes the password of the staff member who fills it in."""


class StaffPasswordForm(RecordedPasswordForm, DjangoStaffPasswordForm):
    """Sets the password of another user."""
