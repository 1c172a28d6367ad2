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


class BearerChallenge(BaseAuthentication):
    """Authenticates no request; for views that judge other credentials and answer 401 in the usual way."""

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class JWTAuthentication(BearerChallenge):
    """Sets `request.user`, and `request.auth` to a UserCaller, at the cost of one query.

    The token is refused as soon as its session has ended or its user is inactive, even if it has
    not expired.
    """

    caller_class = UserCaller

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        scheme, _, credentials = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        try:
            token = AccessToken(credentials.strip())
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
    """Like JWTAuthentication, but an invalid token is ignored."""

    def authenticate(self, request: Request) -> tuple[User, UserCaller] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            return None
