"""Valid or not, a credential in the header of another kind gets an answer that says where it belongs."""

from __future__ import annotations

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants.models.key_secret import KEY_PREFIXES


def refuse_key_as_token(request: Request) -> None:
    """Raise AuthenticationFailed for an API key in the header of tokens."""
    sent = request.headers.get("Authorization", "")[:40].removeprefix("Bearer ")
    if sent.startswith(KEY_PREFIXES):
        raise AuthenticationFailed("This is an API key. Send it as X-API-Key: <key>.", "key_in_wrong_header")


def refuse_token_as_key(secret: str) -> None:
    """Raise AuthenticationFailed for a token in the header of API keys, or for a key with a scheme."""
    if secret.startswith(("eyJ", "Bearer ")):
        raise AuthenticationFailed(
            "X-API-Key takes an API key alone. Send a token as Authorization: Bearer <token>.",
            "token_in_wrong_header",
        )
