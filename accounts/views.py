"""`/api/auth`: registration, sessions, profile and password."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import authenticate, user_logged_in
from django.db import IntegrityError
from django.urls import reverse
from django.utils.module_loading import import_string
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from accounts import tokens
from accounts.authentication import AuthenticatedRequest, BearerChallenge, OptionalJWTAuthentication
from accounts.mailed_tokens import (
    CONFIRMATION,
    PASSWORD_RESET,
    in_background,
    send_confirmation,
    send_password_reset,
    user_of,
)
from accounts.models import RefreshToken, RefreshTokenQuerySet, User
from accounts.serializers import (
    EmailSerializer,
    LoginSerializer,
    LogoutSerializer,
    MailedTokenSerializer,
    MailSentSerializer,
    NewPasswordSerializer,
    PasswordResetSerializer,
    RefreshSerializer,
    RegistrationSerializer,
    SessionSerializer,
    SignedInSerializer,
    TokensSerializer,
    UserSerializer,
    require_strong_password,
)
from core.api.actors import actor_of, source_of
from core.api.etags import check_if_match, etag
from core.api.throttling import counted
from core.audit.models import AuditEvent
from core.errors import Conflict, Forbidden
from core.mail import require_mail_server

AnySerializer = TypeVar("AnySerializer", bound=BaseSerializer[Any])


MAIL_SENT = "If this address can get it, a mail is on its way."


class RegisterView(APIView):
    """Create an account and sign in, as far as the setting REGISTRATION allows it.

    Where new users confirm their address first (CONFIRM_EMAIL), the answer is a 202, the same for taken
    addresses. The token of an invitation to the address replaces the confirmation.

    No Idempotency-Key here: storing the response would store a fast hash of the password, and a second
    registration of the same address fails anyway.
    """

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.register"

    @extend_schema(
        auth=[],
        request=RegistrationSerializer,
        responses={201: SignedInSerializer, 202: MailSentSerializer},
    )
    def post(self, request: Request) -> Response:
        registration = _validated(RegistrationSerializer(data=request.data))
        fields = registration.validated_data
        invited = _require_registration(fields.pop("invitation", None), fields["email"])
        confirmed = invited or not settings.CONFIRM_EMAIL
        try:
            # Without a look-up first: a taken address costs the same hash and insert as a free one.
            user = registration.save(email_confirmed=confirmed)
        except IntegrityError as error:
            if not confirmed:
                return _mail_sent(request, fields["email"], send_confirmation)
            raise Conflict("No account can be made with this e-mail address.", "email_unavailable") from error
        AuditEvent.objects.record(user.as_actor(source_of(request)), "user.registered", user)
        if not confirmed:
            return _mail_sent(request, user.email, send_confirmation)
        return Response(
            _signed_in(user, request),
            status.HTTP_201_CREATED,
            headers={"Location": reverse("profile")},
        )


class LoginView(APIView):
    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.login"

    @extend_schema(auth=[], request=LoginSerializer, responses=SignedInSerializer)
    def post(self, request: Request) -> Response:
        credentials = _validated(LoginSerializer(data=request.data)).validated_data
        user = authenticate(request, username=credentials["email"], password=credentials["password"])
        if not isinstance(user, User):
            raise _wrong_credentials()
        if settings.CONFIRM_EMAIL and user.email_confirmed is False:
            _mail_sent(request, user.email, send_confirmation)
            raise Forbidden(
                "Confirm your e-mail address first: a mail with a token is on its way.", "email_unconfirmed"
            )
        try:
            signed_in = _signed_in(user, request)
        except TokenError as error:
            raise _wrong_credentials() from error
        # As the login of the admin does; the receiver records it (accounts.signals).
        user_logged_in.send(sender=User, request=request, user=user)
        return Response(signed_in)


class RefreshView(APIView):
    """Exchange a refresh token for the next pair. It can be used once; using it again ends the session."""

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.refresh"

    @extend_schema(auth=[], request=RefreshSerializer, responses=TokensSerializer)
    def post(self, request: Request) -> Response:
        encoded = _validated(RefreshSerializer(data=request.data)).validated_data["refresh"]
        try:
            pair = RefreshToken.objects.rotate(encoded, source_of(request))
        except ExpiredTokenError as error:
            raise AuthenticationFailed(
                "The refresh token has expired. Log in again.", "token_expired"
            ) from error
        except TokenError as error:
            raise AuthenticationFailed(
                "The refresh token is not valid. Log in again.", "token_invalid"
            ) from error
        return Response({"access": pair.access, "refresh": pair.refresh})


class LogoutView(APIView):
    """End the session of the refresh token in the body, or else of the access token in the header."""

    authentication_classes = [OptionalJWTAuthentication]
    permission_classes = [AllowAny]
    rate_scope = "auth.refresh"

    @extend_schema(
        auth=[{"accessToken": []}, {}],  # type: ignore[list-item]  # Annotated as names, it takes objects.
        request=LogoutSerializer,
        responses={204: None},
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        encoded = _validated(LogoutSerializer(data=request.data)).validated_data.get("refresh")
        if encoded is not None:
            _end_session_of(encoded, request)
        elif request.user.is_authenticated:
            request.user.end_session(request.auth.login_session)
            AuditEvent.objects.record(actor_of(request), "user.logged_out", request.user)
        else:
            raise NotAuthenticated("Send a refresh token in the body or a valid access token in the header.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogoutAllView(APIView):
    """End every session of the caller, including this one."""

    records_changes = True

    @extend_schema(request=None, responses={204: None})
    def post(self, request: AuthenticatedRequest) -> Response:
        request.user.end_sessions()
        AuditEvent.objects.record(actor_of(request), "user.sessions_ended", request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SessionsView(ListAPIView[RefreshToken]):
    """The caller's live sessions, the most recently used first."""

    request: AuthenticatedRequest
    serializer_class = SessionSerializer
    queryset = RefreshToken.objects.none()  # For the OpenAPI schema.

    def get_queryset(self) -> RefreshTokenQuerySet:
        return self.request.user.refresh_tokens.live()


class ProfileView(APIView):
    records_changes = True

    @extend_schema(responses=UserSerializer)
    def get(self, request: AuthenticatedRequest) -> Response:
        return self._render(request.user)

    @extend_schema(request=UserSerializer(partial=True), responses=UserSerializer)
    def put(self, request: AuthenticatedRequest) -> Response:
        """Change the fields that are sent."""
        return self._update(request)

    @extend_schema(request=UserSerializer(partial=True), responses=UserSerializer)
    def patch(self, request: AuthenticatedRequest) -> Response:
        """Change the fields that are sent."""
        return self._update(request)

    def _update(self, request: AuthenticatedRequest) -> Response:
        check_if_match(request, request.user)
        user = request.user
        fields = _validated(UserSerializer(user, data=request.data, partial=True)).validated_data
        if changes := user.update(**fields):
            AuditEvent.objects.record(actor_of(request), "user.updated", user, changes=changes)
        return self._render(user)

    def _render(self, user: User) -> Response:
        return Response(UserSerializer(user).data, headers={"ETag": etag(user)})


class ChangePasswordView(APIView):
    """Set a new password. Every other session of the caller ends."""

    records_changes = True
    rate_scope = "auth.password"

    @extend_schema(request=NewPasswordSerializer, responses={204: None})
    def put(self, request: AuthenticatedRequest) -> Response:
        context = {"request": request}
        _validated(NewPasswordSerializer(request.user, data=request.data, context=context)).save()
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfirmEmailView(APIView):
    """Confirm the address of an account by the token that was mailed to it. Works once."""

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.password"

    @extend_schema(auth=[], request=MailedTokenSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        token = _validated(MailedTokenSerializer(data=request.data)).validated_data["token"]
        user = user_of(token, CONFIRMATION)
        if user is None or not user.confirm_email(by=user.as_actor(source_of(request))):
            raise _token_invalid()
        return Response(status=status.HTTP_204_NO_CONTENT)


class PasswordResetView(APIView):
    """Have a token mailed that sets a new password. The answer is the same for every address."""

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.mail"

    @extend_schema(auth=[], request=EmailSerializer, responses={202: MailSentSerializer})
    def post(self, request: Request) -> Response:
        email = _validated(EmailSerializer(data=request.data)).validated_data["email"]
        require_mail_server()
        source = source_of(request)
        return _mail_sent(request, email, lambda email: send_password_reset(email, source))


class PasswordResetConfirmView(APIView):
    """Set a new password by the token that was mailed. Works once, and ends every session of the user."""

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.password"

    @extend_schema(auth=[], request=PasswordResetSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        fields = _validated(PasswordResetSerializer(data=request.data)).validated_data
        user = user_of(fields["token"], PASSWORD_RESET)
        if user is None:
            raise _token_invalid()
        require_strong_password("new_password", fields["new_password"], user)
        actor = user.as_actor(source_of(request))
        if not user.change_password(fields["new_password"], by=actor):
            raise _token_invalid()  # another request used it first
        user.confirm_email(by=actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _require_registration(invitation: str | None, email: str) -> bool:
    """Return whether a valid invitation of the address was given. Raises Forbidden unless it may register."""
    invited = invitation is not None and import_string(settings.INVITATION_CHECK)(invitation, email)
    if settings.REGISTRATION == "closed":
        raise Forbidden("New accounts can't be registered here.", "registration_closed")
    if settings.REGISTRATION == "invitation" and not invited:
        raise Forbidden("Send the token of an invitation to this address.", "invitation_required")
    return invited


def _mail_sent(request: Request, email: str, send: Callable[[str], None]) -> Response:
    """Have a mail sent to the address, unless it has got too many, and return the answer for both."""
    digest = hashlib.sha256(email.encode()).hexdigest()
    usage = counted(request, "auth.mails", lambda group, request: f"{group} {digest}")
    if usage is None or usage.has_room_for(0):
        in_background(lambda: send(email))
    return Response({"detail": MAIL_SENT}, status.HTTP_202_ACCEPTED)


def _token_invalid() -> ValidationError:
    return ValidationError({"token": ["This token is not valid any more. Ask for a new one."]}, "invalid")


def _validated(serializer: AnySerializer) -> AnySerializer:
    """Return the serializer with valid data. Raises ValidationError, a 400."""
    serializer.is_valid(raise_exception=True)
    return serializer


def _signed_in(user: User, request: Request) -> dict[str, Any]:
    """Start a session and return the response body for its user. Raises TokenError: see `issue`."""
    pair = RefreshToken.objects.issue(user, source_of(request))
    return {"user": UserSerializer(user).data, "access": pair.access, "refresh": pair.refresh}


def _wrong_credentials() -> AuthenticationFailed:
    return AuthenticationFailed("The e-mail address or the password is wrong.", "wrong_credentials")


def _end_session_of(encoded: str, request: Request) -> None:
    """End the session of a refresh token, even a used one. The session of an expired token has ended."""
    try:
        claims = tokens.RefreshToken.decode(encoded)
    except ExpiredTokenError:
        return
    except TokenError as error:
        raise AuthenticationFailed("The refresh token is not valid.", "token_invalid") from error
    user = User.objects.filter(pk=claims["sub"]).first()
    if user and user.end_session(claims["sid"]):
        actor = actor_of(request) if request.user.is_authenticated else user.as_actor(source_of(request))
        AuditEvent.objects.record(actor, "user.logged_out", user)
