"""Invitations: an offer of membership, sent to an e-mail address and accepted once."""

from __future__ import annotations

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
from core.errors import Forbidden, NotFound
from core.mailed_links import mailed_link
from core.mongo.indexes import TTLIndex
from core.mongo.models import Document
from tenants.models.errors import InvitationClosed, InvitationPending
from tenants.models.membership import Membership, Role
from tenants.models.tenant import Tenant

VALID_FOR = timedelta(days=7)

#: How long an invitation is kept once it has expired; the audit trail keeps its events.
KEPT_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class SentInvitation:
    """A new invitation with its token, which is only in the mail."""

    invitation: Invitation
    token: str = field(repr=False)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def require_none_pending(self, tenant: Tenant, email: str) -> None:
        """Raise InvitationPending if an invitation to the address is open: it gets no second mail."""
        if self.open().filter(tenant=tenant, email=normalised_email(email)).exists():
            raise InvitationPending

    def send(self, tenant: Tenant, *, email: str, role: str, by: Actor) -> SentInvitation:
        """Create an invitation and mail its token.

        Raises InvitationPending; OSError, with nothing changed, if the mail can't be sent.
        """
        email = normalised_email(email)
        token = f"inv_{secrets.token_urlsafe(32)}"

        def create() -> Invitation:
            self.require_none_pending(tenant, email)
            return self.create(
                tenant=tenant,
                email=email,
                role=role,
                digest=_digest(token),
                invited_by_id=by.user_id,
                expires_at=timezone.now() + VALID_FOR,
            )

        invitation = tenant.serialized(create)
        try:
            _mail(invitation, token, by)
        except OSError:
            invitation.delete()
            raise
        AuditEvent.objects.record(
            by, "invitation.sent", invitation, tenant_id=tenant.pk, changes={"role": (None, role)}
        )
        return SentInvitation(invitation, token)

    def accept(self, token: str, user: User, by: Actor) -> Membership:
        """Add `user` as the member that the invitation with `token` offers; return the membership.

        Raises Invitation.DoesNotExist for an unknown token, one for another address or of a deleted
        tenant; InvitationClosed, also if the inviter may not invite any more; AlreadyMember; PlanLimit;
        Forbidden while the tenant is suspended.
        """
        invitation = self.select_related("tenant__plan").get(digest=_digest(token), email=user.email)
        if invitation.tenant.is_suspended:
            raise Forbidden("This tenant is suspended. Ask the platform's staff.", "tenant_suspended")

        def accept() -> Membership:
            if not invitation.inviter_may_invite():
                raise InvitationClosed
            if not self.open().filter(pk=invitation.pk).update(accepted_at=timezone.now()):
                raise InvitationClosed
            return Membership.objects.add_member(invitation.tenant, user, invitation.role, by)

        try:
            return invitation.tenant.serialized(accept)
        except NotFound as error:
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
    invited_by_id: ObjectId | None
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["digest"], name="invitation_digest"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="invitation_newest"),
            TTLIndex(
                fields=["expires_at"],
                expire_after_seconds=int(KEPT_FOR.total_seconds()),
                name="invitation_ttl",
            ),
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

    def inviter_may_invite(self) -> bool:
        """Whether the inviter is active and still has a role that may invite."""
        inviter = Membership.objects.filter(tenant=self.tenant_id, user=self.invited_by_id).first()
        return inviter is not None and Role(inviter.role).may_invite and inviter.user.is_active

    def revoke(self, by: Actor) -> None:
        """Revoke the invitation. Raises InvitationClosed if it is not open."""
        if not Invitation.objects.open().filter(pk=self.pk).update(revoked_at=timezone.now()):
            raise InvitationClosed
        AuditEvent.objects.record(by, "invitation.revoked", self, tenant_id=self.tenant_id)


def is_invited(token: str, email: str) -> bool:
    """Whether `token` is of an invitation of this address that can be accepted."""
    found = Invitation.objects.open().filter(digest=_digest(token), email=normalised_email(email)).first()
    return found is not None and found.tenant.deleted_at is None and found.inviter_may_invite()


def _mail(invitation: Invitation, token: str, by: Actor) -> None:
    tenant = " ".join(invitation.tenant.name.split())
    send_mail(
        f"Invitation to {tenant}",
        f"{by.name} invites you to {tenant} as {invitation.role}.\n\n"
        f"To accept as {invitation.email}, open this link until {invitation.expires_at:%Y-%m-%d %H:%M} UTC:"
        f"\n\n{mailed_link('/invitation', email=invitation.email, token=token)}",
        None,
        [invitation.email],
    )


def _digest(token: str) -> str:
    return hmac.new(settings.API_KEY_PEPPER.encode(), token.encode(), hashlib.sha256).hexdigest()
