"""Invitations: an offer of membership, sent to an e-mail address and accepted once."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from bson import ObjectId
from django.conf import settings
from django.core.mail import send_mail
from django.db import models
from django.utils import timezone

from accounts.models import User, normalised_email
from core.audit.models import Actor, AuditEvent
from core.mongo.models import Document
from tenants.models.errors import InvitationClosed
from tenants.models.membership import Membership, Role
from tenants.models.tenant import Tenant

VALID_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class SentInvitation:
    """A new invitation with its token, which is only in the mail."""

    invitation: Invitation
    token: str = field(repr=False)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def send(self, tenant: Tenant, *, email: str, role: str, by: Actor) -> SentInvitation:
        """Create an invitation and mail its token. Earlier open ones to the same address are revoked.

        Raises OSError, with nothing changed, if the mail can't be sent.
        """
        email = normalised_email(email)
        token = f"inv_{secrets.token_urlsafe(32)}"
        invitation = self.create(
            tenant=tenant,
            email=email,
            role=role,
            digest=_digest(token),
            invited_by_id=by.user_id,
            expires_at=timezone.now() + VALID_FOR,
        )
        try:
            _mail(invitation, token, by)
        except OSError:
            invitation.delete()
            raise
        for earlier in self.open().filter(tenant=tenant, email=email).exclude(pk=invitation.pk):
            with contextlib.suppress(InvitationClosed):  # by a concurrent request
                earlier.revoke(by)
        AuditEvent.objects.record(
            by, "invitation.sent", invitation, tenant_id=tenant.pk, changes={"role": (None, role)}
        )
        return SentInvitation(invitation, token)

    def accept(self, token: str, user: User, by: Actor) -> Membership:
        """Add `user` as the member that the invitation with `token` offers; return the membership.

        Raises Invitation.DoesNotExist for an unknown token, one for another address or of a deleted
        tenant; InvitationClosed; AlreadyMember; PlanLimit.
        """
        invitation = self.select_related("tenant__plan").get(digest=_digest(token), email=user.email)

        def accept() -> Membership:
            if not self.open().filter(pk=invitation.pk).update(accepted_at=timezone.now()):
                raise InvitationClosed
            return Membership.objects.add_member(invitation.tenant, user, invitation.role, by)

        try:
            return invitation.tenant.serialized(accept)
        except Tenant.DoesNotExist as error:
            raise Invitation.DoesNotExist from error


class Invitation(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations", db_index=False)
    tenant_id: ObjectId
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=Role.choices)
    digest = models.CharField(max_length=64, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False, editable=False
    )
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["digest"], name="invitation_digest"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="invitation_newest"),
        )

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"

    @property
    def state(self) -> str:
        """open, accepted, revoked or expired."""
        if self.accepted_at:
            return "accepted"
        if self.revoked_at:
            return "revoked"
        return "open" if self.expires_at > timezone.now() else "expired"

    def revoke(self, by: Actor) -> None:
        """Revoke the invitation. Raises InvitationClosed if it is not open."""
        if not Invitation.objects.open().filter(pk=self.pk).update(revoked_at=timezone.now()):
            raise InvitationClosed
        AuditEvent.objects.record(by, "invitation.revoked", self, tenant_id=self.tenant_id)


def _mail(invitation: Invitation, token: str, by: Actor) -> None:
    tenant = " ".join(invitation.tenant.name.split())
    send_mail(
        f"Invitation to {tenant}",
        f"{by.name} invites you to {tenant} as {invitation.role}.\n\n"
        f"Sign in as {invitation.email} and accept with this token until "
        f"{invitation.expires_at:%Y-%m-%d %H:%M} UTC:\n\n{token}\n\nPOST /api/invitations/accept",
        None,
        [invitation.email],
    )


def _digest(token: str) -> str:
    return hmac.new(settings.API_KEY_PEPPER.encode(), token.encode(), hashlib.sha256).hexdigest()
