"""Tokens that prove access to a mailbox: for a new password, and to confirm the address of a new account.

Django signs them with the state that using them changes, so each works once: a password reset with the
present password hash, a confirmation with the unconfirmed address. They are sent in the background, after
the response: neither its content nor its duration depends on whether the address has an account.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.mail import send_mail
from django.db import connection

from accounts.models import User
from core import shutdown
from core.audit.models import Actor, AuditEvent, Source
from core.mailed_links import mailed_link
from core.mongo.ids import object_id

logger = logging.getLogger(__name__)

#: Mails that wait to be sent by this process; requests beyond send none.
MAX_WAITING = 200


class _ConfirmationTokens(PasswordResetTokenGenerator):
    key_salt = "accounts.mailed_tokens.confirmation"

    def _make_hash_value(self, user: User, timestamp: int) -> str:  # type: ignore[override]  # the stub knows only Django's own user
        return f"{user.pk}{user.email}{user.email_confirmed}{timestamp}"


PASSWORD_RESET = PasswordResetTokenGenerator()
CONFIRMATION = _ConfirmationTokens()


def token_for(user: User, tokens: PasswordResetTokenGenerator) -> str:
    return f"{user.pk}-{tokens.make_token(user)}"


def user_of(token: str, tokens: PasswordResetTokenGenerator) -> User | None:
    """Return the active user whose valid token this is."""
    pk, _, signed = token.partition("-")
    user = User.objects.filter(pk=object_id(pk), is_active=True).first() if object_id(pk) else None
    return user if user is not None and tokens.check_token(user, signed) else None


def send_password_reset(email: str, source: Source) -> None:
    """Mail a token to the active user of this address who signs in with a password, if there is one."""
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None or not user.has_usable_password():
        return
    # Who asks is not known: anyone can name an address.
    AuditEvent.objects.record(Actor(email, source=source), "user.password_reset_requested", user)
    send_mail(
        "Set a new password",
        f"To set a new password for {email}, open this link within {_minutes()} minutes:\n\n"
        f"{mailed_link('/password-reset', email=email, token=token_for(user, PASSWORD_RESET))}\n\n"
        "If you did not ask for this, ignore this mail: nothing has changed.",
        None,
        [email],
    )


def send_confirmation(email: str) -> None:
    """Mail a token to the user of this address whose address is not confirmed; inform one who has it."""
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None:
        return
    if user.email_confirmed is False:
        subject = "Confirm your e-mail address"
        text = (
            f"To confirm {email}, open this link within {_minutes()} minutes:\n\n"
            f"{mailed_link('/confirm-email', email=email, token=token_for(user, CONFIRMATION))}"
        )
    else:
        subject = "You have an account already"
        text = f"A registration named {email}, which has an account. Sign in, or ask for a new password."
    send_mail(subject, text, None, [email])


def in_background(send: Callable[[], None]) -> None:
    """Run `send` after the response, by one thread of this process."""
    if not _waiting.acquire(blocking=False):
        logger.error("too many mails wait to be sent; one is left out")
        return
    shutdown.work.begin()
    _executor().submit(_run, send)


def _run(send: Callable[[], None]) -> None:
    try:
        send()
    except Exception:  # The answer is sent already, and the thread has other mails to send.
        logger.exception("a mail could not be sent")
    finally:
        connection.close()
        _waiting.release()
        shutdown.work.end()


_waiting = threading.BoundedSemaphore(MAX_WAITING)
_executors: list[ThreadPoolExecutor] = []


def _executor() -> ThreadPoolExecutor:
    """Return the thread, created by the first mail: after the server has forked its workers."""
    if not _executors:
        _executors.append(ThreadPoolExecutor(1, "mail"))
    return _executors[0]


def _minutes() -> int:
    return settings.PASSWORD_RESET_TIMEOUT // 60
