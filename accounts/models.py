"""User accounts: `User`, identified by an e-mail address, and `RefreshToken`, one per step of a session.

A *session* is a family of refresh tokens: a login starts one, and each refresh replaces its token with
the next. Its access tokens carry the family as `sid` and are rejected once the session has ended
(accounts.authentication).
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.mail.message import sanitize_address
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework_simplejwt.exceptions import TokenError

from accounts import tokens
from accounts.passwords import normalised_password
from core.audit.denials import record_denial
from core.audit.models import NO_SOURCE, SYSTEM, Actor, AuditEvent, Source
from core.mongo.indexes import TTLIndex
from core.mongo.models import Changes, Document

logger = logging.getLogger(__name__)

MAX_EMAIL_LENGTH = 254

#: The largest difference assumed between the clocks of two workers.
CLOCK_SKEW = timedelta(minutes=1)

#: Sessions of a user; a further login ends the one that was used least recently.
MAX_SESSIONS = 50

#: Refresh tokens that one session keeps until they expire; a client that refreshes every 5 minutes has 2,016.
MAX_TOKENS = 5000

#: A token used again within this time comes from a client that sent two requests at once.
REUSE_GRACE = timedelta(seconds=10)


def normalised_email(email: str) -> str:
    """Return the canonical form in which an address is stored and looked up.

    Domains that are the same in DNS are the same here: with characters that IDNA maps or removes, such as
    soft hyphens, one mailbox would otherwise have any number of addresses.
    """
    email = unicodedata.normalize("NFKC", email).strip().lower()
    local, at, domain = email.rpartition("@")
    if not at or (domain.isascii() and "xn--" not in domain) or len(email) > MAX_EMAIL_LENGTH:
        return email
    try:
        return f"{local}@{domain.encode('idna').decode('idna')}"
    except UnicodeError:
        return email


def can_be_mailed(email: str) -> bool:
    """Whether a mail can have this address: some that Django accepts have no form in DNS."""
    if len(email) > MAX_EMAIL_LENGTH:
        return False
    try:
        sanitize_address(email, "utf-8")
    except ValueError:
        return False
    return True


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Return the new user. Raises IntegrityError if the address is taken."""
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})
        changes = {"is_superuser": (None, user.is_superuser)}
        AuditEvent.objects.record(SYSTEM, "user.created", user, changes=changes)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=normalised_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin, Document):
    email = models.EmailField("e-mail", max_length=MAX_EMAIL_LENGTH, unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Inactive people can't sign in, and their sessions end at once."
    )
    is_staff = models.BooleanField("staff", default=False, help_text="May sign in to this console.")
    email_confirmed = models.BooleanField(
        "address confirmed", default=True, help_text="Only asked of new users, where the settings say so."
    )
    revision = models.IntegerField(
        default=0, editable=False, help_text="Number of serialized changes of what the user owns."
    )
    console_epoch = models.IntegerField(
        default=0, editable=False, help_text="Number of times all sessions in the console were ended."
    )
    #: Ended sessions whose access tokens may be unexpired: [{"family", "until": Unix time in seconds}].
    ended_sessions = models.JSONField(default=list, editable=False)

    objects = UserManager()

    _password_is_new = False

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []

    class Meta:
        ordering = ["email"]

    def __str__(self) -> str:
        return self.email

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Make Django's forms compare addresses in their canonical form."""
        return normalised_email(username)

    def as_actor(self, source: Source = NO_SOURCE) -> Actor:
        """Return this user as the one who acts, with a request from `source`."""
        return Actor(self.email, user_id=self.pk, source=source)

    def save(
        self, *args: Any, update_fields: Iterable[str] | None = None, by: Actor = SYSTEM, **kwargs: Any
    ) -> None:
        """Save. A changed password or a deactivation ends all sessions; the former is recorded as done `by`.

        After `set_password()` the password need not be named: Django's forms and commands don't.
        """
        self.email = normalised_email(self.email)
        if self._password_is_new and not self._state.adding:
            update_fields = {"password", "updated_at", *(update_fields or ())}
        changed = set(update_fields or ())
        super().save(*args, update_fields=update_fields, **kwargs)
        self._password_is_new = False
        if "password" in changed or ("is_active" in changed and not self.is_active):
            self.end_sessions()
        if "password" in changed:
            AuditEvent.objects.record(by, "user.password_changed", self)

    def update_by(self, values_now: Callable[[], Mapping[str, Any]]) -> Changes:
        """Update, with an address in its canonical form. A deactivation ends all sessions."""

        def normalised() -> Mapping[str, Any]:
            values = values_now()
            return {**values, "email": normalised_email(values["email"])} if "email" in values else values

        changes = super().update_by(normalised)
        if "is_active" in changes and not self.is_active:
            self.end_sessions()
        return changes

    def set_password(self, raw_password: str | None) -> None:
        normalised = raw_password and normalised_password(raw_password)
        if raw_password and normalised != raw_password:
            # As check_password computes it: Django sets a password to answer for an unknown address, and the
            # time must not reveal that it is one.
            make_password(raw_password)
        super().set_password(normalised)
        self._password_is_new = True

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self._password_is_new = True

    def check_password(self, raw_password: str | None) -> bool:
        """Return whether the password is correct; a hash with outdated parameters is replaced.

        Hashes made before passwords were normalised (2026-11) are of the password as it was typed.
        """
        if raw_password is None:
            return False
        normalised = normalised_password(raw_password)

        def rehash(raw: str) -> None:
            verified = self.password
            self.password = make_password(normalised)
            User.objects.filter(pk=self.pk, password=verified).update(password=self.password)

        if check_password(normalised, self.password, rehash):
            return True
        if normalised == raw_password or not check_password(raw_password, self.password):
            return False
        rehash(normalised)
        return True

    def change_password(self, raw_password: str, *, by: Actor, except_family: str | None = None) -> bool:
        """Replace the password and end all sessions except `except_family`.

        Returns False, with nothing changed, if the password was changed since this user was read.
        """
        verified = self.password
        self.password = make_password(normalised_password(raw_password))
        unchanged = User.objects.filter(pk=self.pk, password=verified)
        if not unchanged.update(password=self.password, updated_at=timezone.now()):
            return False
        self.end_sessions(except_family=except_family)
        AuditEvent.objects.record(by, "user.password_changed", self)
        return True

    def confirm_email(self, *, by: Actor) -> bool:
        """Record that the user reads mails to the address. Returns False if it was confirmed before."""
        unconfirmed = User.objects.filter(pk=self.pk, email=self.email, email_confirmed=False)
        if not unconfirmed.update(email_confirmed=True, updated_at=timezone.now()):
            return False
        self.email_confirmed = True
        AuditEvent.objects.record(by, "user.email_confirmed", self)
        return True

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Return what a session in the console must have: it ends with the password and with the epoch."""
        value = f"{self.password} {self.console_epoch or 0}"
        salt = "accounts.models.User.session_auth_hash"
        return salted_hmac(salt, value, secret=secret, algorithm="sha256").hexdigest()

    def has_ended(self, family: str) -> bool:
        """Return whether a session that may have unexpired access tokens has ended."""
        return any(ended["family"] == family for ended in self.ended_sessions or [])

    def end_session(self, family: str) -> bool:
        """End a session. Returns False if it had ended before."""
        ended = self.refresh_tokens.filter(family=family).revoke()
        self._reject_access([family])
        return ended

    def end_sessions(self, *, except_family: str | None = None) -> None:
        """End every session of this user, except `except_family`: all tokens, and the console's sessions."""
        session_tokens = self.refresh_tokens.all()
        if except_family is not None:
            session_tokens = session_tokens.exclude(family=except_family)
        session_tokens.revoke()
        User.objects.filter(pk=self.pk).update(console_epoch=models.F("console_epoch") + 1)
        # The console renews the session of a staff member who has just changed the own password.
        self.console_epoch = User.objects.values_list("console_epoch", flat=True).get(pk=self.pk)
        # Read after the revocation, so that sessions which were refreshed meanwhile are included.
        self._reject_access(session_tokens.families_with_access())

    def _reject_access(self, families: Iterable[str]) -> None:
        """Add `families` to `ended_sessions` and drop entries that are due, in one atomic update."""
        now = timezone.now()
        until = int((now + tokens.AccessToken.lifetime + CLOCK_SKEW).timestamp())
        added = {family: {"family": family, "until": until} for family in families}
        still_needed = {"$gt": ["$$this.until", int(now.timestamp())]}
        added_again = {"$in": ["$$this.family", {"$literal": list(added)}]}
        kept = {
            "$filter": {
                "input": {"$ifNull": ["$ended_sessions", []]},
                "cond": {"$and": [still_needed, {"$not": [added_again]}]},
            }
        }
        User.collection().update_one(
            {"_id": self.pk},
            [{"$set": {"ended_sessions": {"$concatArrays": [kept, {"$literal": list(added.values())}]}}}],
        )


class RefreshTokenQuerySet(models.QuerySet["RefreshToken"]):
    def live(self) -> RefreshTokenQuerySet:
        """The tokens that are valid now: one per session that has not ended."""
        return self.filter(used_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def revoke(self) -> bool:
        """Revoke all of these tokens. Returns False if there was nothing to revoke."""
        # While an update runs, a concurrent refresh can still add a successor of a token that it has not
        # revoked yet. `rotate` stores the successor first, so the next pass finds it, and none can follow.
        revoked = False
        while self.filter(revoked_at=None).update(revoked_at=timezone.now()):
            revoked = True
        return revoked

    def families_with_access(self) -> set[str]:
        """Return the sessions that may have an unexpired access token: it came with a refresh token."""
        since = timezone.now() - tokens.AccessToken.lifetime - CLOCK_SKEW
        return set(self.filter(created_at__gt=since).values_list("family", flat=True))

    def issue(self, user: User, source: Source) -> tokens.TokenPair:
        """Start a session for a user who has just authenticated.

        Raises TokenError if the password was changed or the user deactivated since `user` was read.
        """
        pair = self._store_next(user, str(ObjectId()), timezone.now(), source)
        newest_first = user.refresh_tokens.live().order_by("-created_at", "-id")
        for family in newest_first.values_list("family", flat=True)[MAX_SESSIONS:]:
            user.end_session(family)
        # Checked after the token is stored: a password change that comes later finds and revokes it.
        unchanged = User.objects.filter(pk=user.pk, password=user.password, is_active=True)
        if not unchanged.update(last_login=timezone.now()):
            user.end_session(pair.session)
            raise TokenError("The password was changed or the user deactivated meanwhile")
        return pair

    def rotate(self, encoded: str, source: Source) -> tokens.TokenPair:
        """Mark a refresh token as used and return the next pair of its session (RFC 9700, 4.14.2).

        Of concurrent callers with the same token exactly one succeeds. The others get TokenError, as do
        callers with an invalid token. A token that was used more than REUSE_GRACE ago must have been
        copied: its session ends.
        """
        claims = tokens.RefreshToken.decode(encoded)
        used = self.filter(jti=claims["jti"]).first()
        if used is None or used.revoked_at or not used.user.is_active:
            raise TokenError("The session has ended")
        if used.used_at:
            used.handle_reuse(used.used_at, source)
            raise TokenError("The token was used before")
        if self.filter(family=used.family).count() >= MAX_TOKENS:
            used.user.end_session(used.family)
            raise TokenError("The session has been refreshed too often")
        # The successor is stored first: a worker that dies between the two writes ends no session.
        pair = self._store_next(used.user, used.family, used.started_at, source)
        if not self.filter(pk=used.pk, used_at=None, revoked_at=None).update(used_at=timezone.now()):
            self.filter(jti=tokens.RefreshToken.decode(pair.refresh)["jti"]).delete()
            raise TokenError("The token was used before")
        return pair

    def _store_next(self, user: User, family: str, started_at: datetime, source: Source) -> tokens.TokenPair:
        refresh = tokens.RefreshToken.of_session(user.pk, family)
        self.create(
            jti=refresh["jti"],
            family=family,
            user=user,
            started_at=started_at,
            expires_at=datetime.fromtimestamp(refresh["exp"], UTC),
            user_agent=source.user_agent,
            address=source.address,
        )
        access = tokens.AccessToken.of_session(user.pk, family)
        return tokens.TokenPair(str(access), str(refresh), family)


class RefreshToken(Document):
    """A refresh token that can be used once. It is kept until it expires, so that reuse is detected."""

    jti = models.CharField(max_length=64, unique=True)
    family = models.CharField("session", max_length=24, db_index=True)
    user_id: ObjectId
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="refresh_tokens", db_index=False)
    started_at = models.DateTimeField("session started")
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    user_agent = models.CharField(max_length=300, blank=True)
    address = models.CharField(max_length=45, blank=True)

    objects = RefreshTokenQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="refresh_user_newest"),
            TTLIndex(fields=["expires_at"], name="refresh_expires_ttl"),
        ]

    def __str__(self) -> str:
        return f"Session of {self.user_id}, started {self.started_at:%Y-%m-%d %H:%M}"

    def handle_reuse(self, used_at: datetime, source: Source) -> None:
        """End the session of a token that is used again, unless it was first used just now."""
        if timezone.now() - used_at < REUSE_GRACE:
            return
        logger.warning("refresh token reused", extra={"user": str(self.user_id), "session": self.family})
        self.user.end_session(self.family)
        record_denial(self.user.as_actor(source), "user.refresh_refused", "token_reused", self.user)
