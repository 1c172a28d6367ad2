"""The secret that webhooks are signed with: `whsec_` and 32 bytes in base64.

It is needed for every signature, so a digest is not enough. It is stored encrypted with a key that is derived
from the pepper, which is not in the database.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.fernet import Fernet
from django.conf import settings


def generate() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def seal(secret: str) -> str:
    return _cipher().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """Raises cryptography.fernet.InvalidToken if it was sealed with another pepper."""
    return _cipher().decrypt(sealed.encode()).decode()


def _cipher() -> Fernet:
    key = hashlib.blake2b(
        b"secrets of webhooks", key=settings.API_KEY_PEPPER.encode()[:64], digest_size=32
    ).digest()
    return Fernet(base64.urlsafe_b64encode(key))
