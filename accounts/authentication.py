"""Who sends a request, told by `Authorization: Bearer <access token>`."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from accounts.models import User
from accounts.tokens import AccessToken


class BearerChallenge(BaseAuthentication):
    """Authenticates nobody; for views that judge other credentials and answer 401 in the usual way."""

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class JWTAuthentication(BearerChallenge):
    """Sets `request.user`, and `request.auth` to the AccessToken, at the price of one query.

    The token is refused as soon as its session has ended or its user is inactive, though it has
    not expired.
    """

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
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
        getattr(request, "log_fields", {})["user"] = str(user.pk)
        return user, token


class OptionalJWTAuthentication(JWTAuthentication):
    """Like JWTAuthentication, but a token that is not valid counts as none."""

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            return None
