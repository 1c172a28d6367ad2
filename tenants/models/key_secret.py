"""The secret of an API key: `cap_<pk|sk>_<live|test>_`, 32 random characters and a checksum of 6.

All 38 are base62. The checksum is the CRC32 of everything before it: a mistyped or made-up key is rejected
without a database query, and secret scanners recognise a key reliably.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib

from django.conf import settings

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6  # 62**6 > 2**32
_VISIBLE_RANDOM = 8

_KEY = re.compile(r"cap_(pk|sk)_(live|test)_[0-9A-Za-z]{38}")
#: With what a key begins.
KEY_PREFIXES = ("cap_sk_", "cap_pk_")
_PREFIX_LENGTH = len("cap_sk_live_") + _VISIBLE_RANDOM


def generate(kind: str, environment: str) -> str:
    body = f"cap_{kind}_{environment}_" + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether `secret` has the form of a key and a correct checksum."""
    return bool(_KEY.fullmatch(secret)) and secret[-_CHECKSUM_LENGTH:] == _checksum(
        secret[:-_CHECKSUM_LENGTH]
    )


def prefix_of(secret: str) -> str:
    """Return the visible part, by which keys are looked up. The other 24 random characters stay secret."""
    return secret[:_PREFIX_LENGTH]


def digest_of(secret: str) -> str:
    """Return the HMAC stored instead of the secret. Its key, the pepper, is not in the database."""
    return hmac.new(settings.API_KEY_PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
