"""People: `User`, who signs in with an e-mail address, and `RefreshToken`, which keeps a session alive.

A *session* is a family of refresh tokens: login starts one, each refresh replaces its token by the
next. Its access tokens carry the family as `sid` and die with it (accounts.authentication).
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError

from accounts import tokens
from accounts.events import tell, tell_refusal
from core.api.addresses import client_address
from core.mongo.indexes import TTLIndex
from core.mongo.models import Document

logger = logging.getLogger("accounts")

#: How far the clocks of two workers may be apart.
CLOCK_SKEW = timedelta(minutes=1)

#: A token presented again this soon after its use comes from a client that asked twice at once.
REUSE_GRACE = timedelta(seconds=10)


def normalised_email(email: str) -> str:
    """Return the one spelling under which an address is stored and looked up."""
    return unicodedata.normalize("NFKC", email).strip().lower()


class UserManager(BaseUserManager):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Return the new user. Raises IntegrityError if the address is taken."""
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})
        tell("user.created", user, changes={"is_superuser": (None, user.is_superuser)})
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=normalised_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin, Document):
    email = models.EmailField("e-mail", max_length=254, unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Inactive people can't sign in, and their sessions end at once."
    )
    is_staff = models.BooleanField("staff", default=False, help_text="May sign in to this console.")
    #: Sessions whose access tokens may not have expired yet: [{"family", "until": Unix seconds}].
    ended_sessions = models.JSONField(default=list, editable=False)

    objects = UserManager()

    #: On whose behalf this copy is saved; None for a command.
    changed_by: HttpRequest | None = None

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
        """Have Django's forms compare addresses in the spelling that is stored."""
        return normalised_email(username)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Save; a new password or a deactivation ends all sessions.

        `ended_sessions` is never written from here, and the password only after `set_password()`:
        the copy in memory may be older than what another request has stored since.
        """
        self.email = normalised_email(self.email)
        if update_fields is None and not self._state.adding:
            update_fields = self._saved_fields()
        written = set() if self._state.adding else set(update_fields)
        super().save(*args, update_fields=update_fields, **kwargs)
        self._password_is_new = False
        if "password" in written or ("is_active" in written and not self.is_active):
            self.end_sessions()
        if "password" in written:
            tell("user.password_changed", self, self.changed_by)

    def _saved_fields(self) -> set[str]:
        names = {field.name for field in self._meta.concrete_fields if not field.primary_key}
        names -= {"ended_sessions", "last_login"}
        return names if self._password_is_new else names - {"password"}

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(raw_password)
        self._password_is_new = True

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self._password_is_new = True

    def check_password(self, raw_password: str) -> bool:
        """Tell whether this is the password; a hash with outdated parameters is renewed."""

        def renew(raw: str) -> None:
            verified = self.password
            self.password = make_password(raw)
            User.objects.filter(pk=self.pk, password=verified).update(password=self.password)

        return check_password(raw_password, self.password, renew)

    def change_password(self, raw_password: str, *, except_family: str | None = None) -> bool:
        """Set another password and end the sessions opened with the old one, but not `except_family`.

        False, and nothing done, if someone else has changed the password since this user was read.
        """
        verified = self.password
        self.password = make_password(raw_password)
        changed = User.objects.filter(pk=self.pk, password=verified).update(
            password=self.password, updated_at=timezone.now()
        )
        if changed:
            self.end_sessions(except_family=except_family)
        return bool(changed)

    def has_ended(self, family: str) -> bool:
        """Tell whether a session that still has unexpired access tokens was ended."""
        return any(ended["family"] == family for ended in self.ended_sessions or [])

    def end_session(self, family: str) -> bool:
        """False if its refresh tokens had ended before."""
        ended = self.refresh_tokens.filter(family=family).revoke()
        self._refuse_access([family])
        return ended

    def end_sessions(self, *, except_family: str | None = None) -> None:
        """Refuse from now on every refresh and access token of this user."""
        session_tokens = self.refresh_tokens.all()
        if except_family is not None:
            session_tokens = session_tokens.exclude(family=except_family)
        session_tokens.revoke()
        # Read after the revocation, so that a refresh it came too late for is among them.
        self._refuse_access(session_tokens.families_with_access())

    def _refuse_access(self, families: Iterable[str]) -> None:
        """Add to `ended_sessions`, and drop what has served its time, in one atomic update."""
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


class RefreshTokenQuerySet(models.QuerySet):
    def live(self) -> RefreshTokenQuerySet:
        """The tokens that would be accepted now: one for each session that has not ended."""
        return self.filter(used_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def revoke(self) -> bool:
        """False if there was nothing left to revoke."""
        # A successor can be stored behind the update's back while its predecessor is still unrevoked.
        # It is there before the predecessor is spent, so the next pass finds it; none can follow.
        revoked = False
        while self.filter(revoked_at=None).update(revoked_at=timezone.now()):
            revoked = True
        return revoked

    def families_with_access(self) -> set[str]:
        """Return the sessions that may hold an unexpired access token: each comes with a refresh token."""
        since = timezone.now() - tokens.AccessToken.lifetime - CLOCK_SKEW
        return set(self.filter(created_at__gt=since).values_list("family", flat=True))

    def issue(self, user: User, request: HttpRequest) -> tokens.TokenPair:
        """Start a session for a user who has just proved who he is.

        Raises TokenError if the password was changed or the account closed since `user` was read.
        """
        pair = self._store_next(user, str(ObjectId()), timezone.now(), request)
        # Asked once the token is stored: whoever changes the password later finds and revokes it.
        unchanged = User.objects.filter(pk=user.pk, password=user.password, is_active=True)
        if not unchanged.update(last_login=timezone.now()):
            user.end_session(pair.session)
            raise TokenError("The password was changed or the account closed meanwhile")
        return pair

    def rotate(self, encoded: str, request: HttpRequest) -> tokens.TokenPair:
        """Spend a refresh token and return the next pair of its session.

        Of any number of callers with the same token exactly one succeeds; the others get TokenError,
        as does everyone with a token that is not valid. A token that was spent longer than
        REUSE_GRACE ago has been copied, and its whole session ends.
        """
        claims = tokens.RefreshToken(encoded)
        spent = self.filter(jti=claims["jti"]).first()
        if spent is None or spent.revoked_at or not spent.user.is_active:
            raise TokenError("The session has ended")
        if spent.used_at:
            spent.presented_again(request)
            raise TokenError("The token was used before")
        # The successor is stored first: a worker that dies between the two writes ends no session.
        pair = self._store_next(spent.user, spent.family, spent.started_at, request)
        if not self.filter(pk=spent.pk, used_at=None, revoked_at=None).update(used_at=timezone.now()):
            self.filter(jti=tokens.RefreshToken(pair.refresh)["jti"]).delete()
            raise TokenError("The token was used before")
        return pair

    def _store_next(
        self, user: User, family: str, started_at: datetime, request: HttpRequest
    ) -> tokens.TokenPair:
        refresh = tokens.RefreshToken.of_session(user.pk, family)
        self.create(
            jti=refresh["jti"],
            family=family,
            user=user,
            started_at=started_at,
            expires_at=datetime.fromtimestamp(refresh["exp"], UTC),
            user_agent=request.META.get("HTTP_USER_AGENT", "")[:300],
            address=client_address(request),
        )
        access = tokens.AccessToken.of_session(user.pk, family)
        return tokens.TokenPair(str(access), str(refresh), family)


class RefreshToken(Document):
    """One refresh token: spent at its first use, kept until it expires so that a second use is noticed."""

    jti = models.CharField(max_length=64, unique=True)
    family = models.CharField("session", max_length=24, db_index=True)
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

    def presented_again(self, request: HttpRequest) -> None:
        """End the session of a spent token that is shown once more, unless it was spent just now."""
        if timezone.now() - self.used_at < REUSE_GRACE:
            return
        logger.warning("refresh token reused", extra={"user": str(self.user_id), "session": self.family})
        self.user.end_session(self.family)
        tell_refusal("user.refresh_refused", "token_reused", request, email=self.user.email, user=self.user)
