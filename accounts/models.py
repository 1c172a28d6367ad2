"""People: `User`, who signs in with an e-mail address, and `RefreshToken`, which keeps a session alive.

A *session* is a family of refresh tokens: login starts one, each refresh replaces its token by the
next. Its access tokens carry the family as `sid` and die with it (accounts.authentication).
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

from config.mongo.indexes import TTLIndex
from config.mongo.models import Document


def normalised_email(email: str) -> str:
    return email.strip().lower()


class UserManager(BaseUserManager):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Return the new user. Raises IntegrityError if the address is taken."""
        user = self.model(email=normalised_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=normalised_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin, Document):
    email = models.EmailField("e-mail", max_length=254, unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField("active", default=True)
    is_staff = models.BooleanField("staff", default=False)
    #: Sessions whose access tokens may still be unexpired: [{"family", "until": Unix seconds}].
    ended_sessions = models.JSONField(default=list, editable=False)

    objects = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []

    class Meta:
        ordering = ["email"]

    def __str__(self) -> str:
        return self.email


class RefreshToken(Document):
    """One refresh token: spent at its first use, kept until it expires so that a second use is noticed."""

    jti = models.CharField(max_length=64, unique=True)
    family = models.CharField(max_length=64)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="refresh_tokens", db_index=False)
    started_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    user_agent = models.CharField(max_length=300, blank=True)
    address = models.CharField(max_length=45, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["user", "family"], name="refresh_user_family"),
            TTLIndex(fields=["expires_at"], name="refresh_expires_ttl"),
        ]

    def __str__(self) -> str:
        return f"Session of {self.user_id}, started {self.started_at:%Y-%m-%d %H:%M}"
