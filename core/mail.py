"""Where no mail server is configured: nothing is sent, and no mail, which may hold a token, is logged."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from core.errors import Unavailable

NO_MAIL_SERVER = "core.mail.NoMailServer"


class NoMailServer(BaseEmailBackend):
    """The mail backend of production without EMAIL_URL."""

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        raise MailNotConfigured


class MailNotConfigured(OSError):
    """Like a mail server that cannot be reached: nothing was sent."""

    def __init__(self) -> None:
        super().__init__("No mail is sent: EMAIL_URL is not set.")


def has_mail_server() -> bool:
    return settings.EMAIL_BACKEND != NO_MAIL_SERVER


def require_mail_server() -> None:
    """Raise Unavailable where no mail can be sent, before anything is done for one."""
    if not has_mail_server():
        raise Unavailable(
            "No mail was sent: this server has no mail server. Its operator has to set EMAIL_URL.",
            "mail_not_configured",
        )
