"""Request and response bodies of `/api/auth`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as InvalidValue
from rest_framework import serializers
from rest_framework.fields import get_error_detail

from accounts.models import MAX_EMAIL_LENGTH, RefreshToken, User, can_be_mailed, normalised_email
from accounts.passwords import normalised_password
from core.api.actors import actor_of
from core.api.serializers import DocumentSerializer, StrictSerializer
from core.audit.denials import record_denial

#: Longer passwords are rejected: each login hashes the whole password.
MAX_PASSWORD_LENGTH = 256


class Email(serializers.EmailField):
    """An e-mail address, converted to the form in which it is stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_EMAIL_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return normalised_email(super().to_internal_value(data))


class MailableEmail(Email):
    """An address that mail can be sent to."""

    def to_internal_value(self, data: Any) -> str:
        email = super().to_internal_value(data)
        if len(email) <= MAX_EMAIL_LENGTH and not can_be_mailed(email):
            self.fail("invalid")
        return email


class Password(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            trim_whitespace=False, max_length=MAX_PASSWORD_LENGTH, style={"input_type": "password"}, **kwargs
        )


class UserSerializer(DocumentSerializer):
    name = serializers.CharField(max_length=100, allow_blank=True)

    class Meta:
        model = User
        fields = ["id", "email", "name", "created_at", "updated_at"]
        read_only_fields = ["email"]


class RegistrationSerializer(StrictSerializer):
    email = MailableEmail()
    password = Password()
    name = serializers.CharField(max_length=100, allow_blank=True, default="")
    invitation = serializers.CharField(
        max_length=100,
        required=False,
        help_text="The token of an invitation to this address: it confirms the address.",
    )

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        require_strong_password("password", attrs["password"], User(email=attrs["email"], name=attrs["name"]))
        return attrs

    def create(self, validated_data: dict[str, Any]) -> User:
        return User.objects.create_user(**validated_data)


class EmailSerializer(StrictSerializer):
    email = MailableEmail()


class MailedTokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200)


class PasswordResetSerializer(MailedTokenSerializer):
    new_password = Password()


class MailSentSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()


class LoginSerializer(StrictSerializer):
    email = Email()
    password = Password()


class RefreshSerializer(StrictSerializer):
    refresh = serializers.CharField(max_length=4096)


class LogoutSerializer(StrictSerializer):
    refresh = serializers.CharField(max_length=4096, required=False)


class NewPasswordSerializer(StrictSerializer):
    """Changes the password of `instance`, the user of `context["request"]`, whose session continues."""

    instance: User

    default_error_messages = {"wrong_password": "This is not the current password."}

    current_password = Password()
    new_password = Password()

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        if not self.instance.check_password(attrs["current_password"]):
            raise self._wrong_password()
        require_strong_password("new_password", attrs["new_password"], self.instance)
        return attrs

    def update(self, user: User, validated_data: dict[str, str]) -> User:
        request = self.context["request"]
        if not user.change_password(
            validated_data["new_password"], by=actor_of(request), except_family=request.auth.login_session
        ):  # Another request has changed it since the current password was checked.
            raise self._wrong_password()
        return user

    def _wrong_password(self) -> serializers.ValidationError:
        """Record the denial and return the error."""
        actor = actor_of(self.context["request"])
        record_denial(actor, "user.password_change_refused", "wrong_password", self.instance)
        detail = self.error_messages["wrong_password"]
        return serializers.ValidationError({"current_password": [detail]}, code="wrong_password")


class TokensSerializer(serializers.Serializer[Any]):
    access = serializers.CharField(help_text="Bearer token for 15 minutes, unless set otherwise.")
    refresh = serializers.CharField(help_text="Good for one refresh within 7 days, unless set otherwise.")


class SignedInSerializer(TokensSerializer):
    user = UserSerializer()


class SessionSerializer(DocumentSerializer):
    """A session, represented by its live refresh token."""

    id = serializers.CharField(source="family")
    created_at = serializers.DateTimeField(source="started_at")
    last_used_at = serializers.DateTimeField(source="created_at", help_text="Time of login or last refresh.")
    current = serializers.SerializerMethodField(help_text="Whether this request belongs to it.")

    class Meta:
        model = RefreshToken
        fields = ["id", "created_at", "last_used_at", "expires_at", "address", "user_agent", "current"]

    def get_current(self, token: RefreshToken) -> bool:
        return bool(token.family == self.context["request"].auth.login_session)


def require_strong_password(field: str, password: str, user: User) -> None:
    try:
        validate_password(normalised_password(password), user)
    except InvalidValue as error:
        raise serializers.ValidationError({field: get_error_detail(error)}) from error
