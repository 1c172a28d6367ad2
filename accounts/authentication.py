"""Authentication by `Authorization: Bearer <access token>`."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from accounts.callers import UserCaller
from accounts.models import User
from accounts.tokens import AccessToken
from core.api.middleware import add_log_fields


class AuthenticatedRequest(Request):
    """For annotations: a request that JWTAuthentication has accepted."""

    user: User
    auth: UserCaller


class BearerChallenge(BaseAuthentication):
    """Authenticates no request. For views that check other credentials, yet answer 401 with this header."""

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class JWTAuthentication(BearerChallenge):
    """Sets `request.user`, and `request.auth` to a UserCaller, with one database query.

    A token is rejected as soon as its session has ended or its user is inactive, even before it expires.
    """

    caller_class = UserCaller

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        scheme, _, credentials = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        try:
            token = AccessToken.decode(credentials.strip())
        except ExpiredTokenError as error:
            raise AuthenticationFailed("The access token has expired.", "token_expired") from error
        except TokenError as error:
            raise AuthenticationFailed("The access token is not valid.", "token_invalid") from error
        user = User.objects.filter(pk=token["sub"]).first()
        if user is None or not user.is_active or user.has_ended(token["sid"]):
            raise AuthenticationFailed("This session has ended. Log in again.", "session_ended")
        add_log_fields(request, user=str(user.pk))
        return user, self.caller_class(user, token["sid"])


class OptionalJWTAuthentication(JWTAuthentication):
    """Like JWTAuthentication, but an invalid token is ignored: the request is then anonymous."""

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            return None
