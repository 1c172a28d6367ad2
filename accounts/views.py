"""`/api/auth`: registration, sessions, profile and password."""

from __future__ import annotations

from django.contrib.auth import authenticate, user_logged_in
from django.db import IntegrityError
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from accounts import tokens
from accounts.authentication import BearerChallenge, OptionalJWTAuthentication
from accounts.events import tell
from accounts.models import RefreshToken, User
from accounts.serializers import (
    LoginSerializer,
    LogoutSerializer,
    NewPasswordSerializer,
    RefreshSerializer,
    RegistrationSerializer,
    SessionSerializer,
    SignedInSerializer,
    TokensSerializer,
    UserSerializer,
)
from core.api.etags import check_if_match, etag
from core.errors import Conflict

#: Answers that hold tokens must stay out of every cache on the way (RFC 6749, 5.1).
NOT_STORED = {"Cache-Control": "no-store"}


class Register(APIView):
    """Create an account and sign in.

    No Idempotency-Key here: it would keep a fast hash of the password, and a second registration
    of the same address is refused anyway.
    """

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.register"

    @extend_schema(auth=[], request=RegistrationSerializer, responses={201: SignedInSerializer})
    def post(self, request: Request) -> Response:
        registration = _valid(RegistrationSerializer(data=request.data))
        try:
            # No look-up first: a taken address costs the same hash and insert as a free one.
            user = registration.save()
        except IntegrityError as error:
            raise Conflict("No account can be made with this e-mail address.", "email_unavailable") from error
        tell("user.registered", user, request)
        return Response(
            _signed_in(user, request),
            status.HTTP_201_CREATED,
            headers={"Location": reverse("profile"), **NOT_STORED},
        )


class Login(APIView):
    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.login"

    @extend_schema(auth=[], request=LoginSerializer, responses=SignedInSerializer)
    def post(self, request: Request) -> Response:
        credentials = _valid(LoginSerializer(data=request.data)).validated_data
        user = authenticate(request, username=credentials["email"], password=credentials["password"])
        if user is None:
            raise _wrong_credentials()
        try:
            signed_in = _signed_in(user, request)
        except TokenError as error:
            raise _wrong_credentials() from error
        # As a login to the admin does: it dates the last login and is audited.
        user_logged_in.send(sender=User, request=request, user=user)
        return Response(signed_in, headers=NOT_STORED)


class Refresh(APIView):
    """Exchange a refresh token for the next pair. It can be used once; using it again ends the session."""

    authentication_classes = [BearerChallenge]
    permission_classes = [AllowAny]
    rate_scope = "auth.refresh"

    @extend_schema(auth=[], request=RefreshSerializer, responses=TokensSerializer)
    def post(self, request: Request) -> Response:
        encoded = _valid(RefreshSerializer(data=request.data)).validated_data["refresh"]
        try:
            pair = RefreshToken.objects.rotate(encoded, request)
        except ExpiredTokenError as error:
            raise AuthenticationFailed(
                "The refresh token has expired. Log in again.", "token_expired"
            ) from error
        except TokenError as error:
            raise AuthenticationFailed(
                "The refresh token is not valid. Log in again.", "token_invalid"
            ) from error
        return Response({"access": pair.access, "refresh": pair.refresh}, headers=NOT_STORED)


class Logout(APIView):
    """End the session of the refresh token in the body, or else of the access token in the header."""

    authentication_classes = [OptionalJWTAuthentication]
    permission_classes = [AllowAny]
    rate_scope = "auth.refresh"

    @extend_schema(auth=[{"accessToken": []}, {}], request=LogoutSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        encoded = _valid(LogoutSerializer(data=request.data)).validated_data.get("refresh")
        if encoded is not None:
            _end_session_of(encoded, request)
        elif request.user.is_authenticated:
            request.user.end_session(request.auth.login_session)
            tell("user.logged_out", request.user, request)
        else:
            raise NotAuthenticated("Send a refresh token in the body or a valid access token in the header.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogoutAll(APIView):
    """End every session of the caller, this one too."""

    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        request.user.end_sessions()
        tell("user.sessions_ended", request.user, request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Sessions(ListAPIView):
    """The caller's live sessions, the most recently used first."""

    serializer_class = SessionSerializer

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):
            return RefreshToken.objects.none()
        return self.request.user.refresh_tokens.live()


class Profile(APIView):
    @extend_schema(responses=UserSerializer)
    def get(self, request: Request) -> Response:
        return self._shown(request.user)

    @extend_schema(request=UserSerializer, responses=UserSerializer)
    def put(self, request: Request) -> Response:
        return self._update(request, partial=False)

    @extend_schema(request=UserSerializer, responses=UserSerializer)
    def patch(self, request: Request) -> Response:
        return self._update(request, partial=True)

    def _update(self, request: Request, *, partial: bool) -> Response:
        check_if_match(request, request.user)
        before = request.user.name
        user = _valid(UserSerializer(request.user, data=request.data, partial=partial)).save()
        if user.name != before:
            tell("user.updated", user, request, {"name": (before, user.name)})
        return self._shown(user)

    def _shown(self, user: User) -> Response:
        return Response(UserSerializer(user).data, headers={"ETag": etag(user)})


class ChangePassword(APIView):
    """Set a new password. Every other session of the caller ends."""

    rate_scope = "auth.password"

    @extend_schema(request=NewPasswordSerializer, responses={204: None})
    def put(self, request: Request) -> Response:
        _valid(NewPasswordSerializer(request.user, data=request.data, context={"request": request})).save()
        tell("user.password_changed", request.user, request)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _valid(serializer: BaseSerializer) -> BaseSerializer:
    serializer.is_valid(raise_exception=True)
    return serializer


def _signed_in(user: User, request: Request) -> dict:
    """Start a session and return what its owner gets. Raises TokenError: see `issue`."""
    pair = RefreshToken.objects.issue(user, request)
    return {"user": UserSerializer(user).data, "access": pair.access, "refresh": pair.refresh}


def _wrong_credentials() -> AuthenticationFailed:
    return AuthenticationFailed("The e-mail address or the password is wrong.", "wrong_credentials")


def _end_session_of(encoded: str, request: Request) -> None:
    """End the session of a refresh token, even one that was spent; an expired one has none left."""
    try:
        claims = tokens.RefreshToken(encoded)
    except ExpiredTokenError:
        return
    except TokenError as error:
        raise AuthenticationFailed("The refresh token is not valid.", "token_invalid") from error
    user = User.objects.filter(pk=claims["sub"]).first()
    if user and user.end_session(claims["sid"]):
        tell("user.logged_out", user, request)
