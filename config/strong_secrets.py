"""Secrets from the environment: strong in production, generated once elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

#: Shorter secrets can be guessed offline from one signed token (RFC 7518, section 3.2).
SECRET_BYTES = 32

#: Placeholders of examples and repeated characters.
_SAMPLE = re.compile(r"your-|change.?me|example|secret-key|insecure|placeholder|^(.)\1+$", re.IGNORECASE)


def strong_secret(name: str, value: str, problems: list[str], *, required: bool, keep_in: Path) -> str:
    """Return a secret that is strong enough to sign with.

    If `required` (in production), a missing, short or sample value is a problem. Otherwise a missing one is
    generated once and stored, readable by its owner only, in `keep_in`.
    """
    if not value and not required:
        try:
            return _stored_secret(keep_in / f"{name.lower()}.txt")
        except OSError as error:
            problems.append(f"VAR_DIR must be a folder that can be written: {keep_in}: {error.strerror}.")
            return value
    problem = ""
    if not value:
        problem = "is missing"
    elif _SAMPLE.search(value):
        problem = "still holds a sample value"
    elif len(value.encode()) < SECRET_BYTES:
        problem = f"is shorter than {SECRET_BYTES} bytes"
    if problem and required:
        problems.append(
            f"{name} {problem}. Set it to a random value, for example the output of: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return value


def _stored_secret(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        # A link is atomic and never overwrites: of two concurrent first starts both read the same secret.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
