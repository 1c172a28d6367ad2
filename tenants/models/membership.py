"""Members: the role of a user in a tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bson import ObjectId
from django.db import models

from accounts.models import User
from core.audit.denials import record_denial
from core.audit.models import Actor, AuditEvent
from core.mongo.models import Document
from tenants.models.errors import AlreadyMember, LastAdmin, PlanLimit
from tenants.models.tenant import Tenant


class Role(models.TextChoices):
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"

    def includes(self, other: str) -> bool:
        """Whether this role may do everything that `other` may."""
        return _RANK[self] >= _RANK[Role(other)]

    @property
    def may_invite(self) -> bool:
        return self == Role.ADMIN


_RANK = {Role.VIEWER: 1, Role.DEVELOPER: 2, Role.ADMIN: 3}


class MembershipQuerySet(models.QuerySet["Membership"]):
    def roles_of(self, user: User) -> dict[ObjectId, str]:
        """Return `{tenant id: role}` of the user."""
        return dict(self.filter(user=user).order_by().values_list("tenant_id", "role"))

    def admit(self, tenant: Tenant, user: User, role: str, by: Actor) -> Membership:
        """Add a member and return the membership. Raises AlreadyMember, PlanLimit."""
        return tenant.serialized(lambda: self.add_member(tenant, user, role, by))

    def add_member(self, tenant: Tenant, user: User, role: str, by: Actor) -> Membership:
        """`admit` for callers that are within `tenant.serialized` already."""
        if tenant.memberships.filter(user=user).exists():
            raise AlreadyMember
        limit = tenant.plan.max_members
        if limit is not None and tenant.memberships.count() >= limit:
            raise PlanLimit("members", limit)
        membership = tenant.memberships.create(user=user, role=role)
        AuditEvent.objects.record(
            by, "member.added", user, tenant_id=tenant.pk, changes={"role": (None, role)}
        )
        return membership


def fellow_members(admin: User) -> models.QuerySet[User]:
    """Return the active members of all tenants that `admin` administers."""
    tenant_ids = admin.memberships.filter(role=Role.ADMIN).order_by().values_list("tenant_id", flat=True)
    members = Membership.objects.filter(tenant__in=list(tenant_ids))
    user_ids = members.order_by().values_list("user_id", flat=True)
    return User.objects.filter(pk__in=list(user_ids), is_active=True)


class Membership(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    tenant_id: ObjectId
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    user_id: ObjectId
    role = models.CharField(max_length=10, choices=Role.choices)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (models.UniqueConstraint(fields=["user", "tenant"], name="one_membership_a_user"),)
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="membership_newest"),)

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.tenant_id}"

    def change_role(self, role: str, by: Actor) -> None:
        """Change the role. Raises LastAdmin if no admin would remain, NotFound for one removed before."""

        def change() -> None:
            self.reread()
            before = self.role
            if before == role:
                return
            self._require_another_admin()
            self.update(role=role)
            if not Role(role).may_invite:
                self._revoke_invitations(by)
            AuditEvent.objects.record(
                by,
                "member.role_changed",
                self.user,
                tenant_id=self.tenant_id,
                changes={"role": (before, role)},
            )

        self._serialized(change, by, "member.role_change_refused", role)

    def remove(self, by: Actor) -> None:
        """Remove the member. Raises LastAdmin if no admin would remain, NotFound for one removed before.

        API keys that the member issued are the tenant's and remain; the recorded event lists them.
        """

        def change() -> None:
            self.reread()
            self._require_another_admin()
            Membership.objects.filter(pk=self.pk).delete()
            self._revoke_invitations(by)
            changes: dict[str, Any] = {"role": (self.role, None)}
            if kept := list(self.tenant.api_keys.usable().filter(created_by=self.user_id)):
                changes["api_keys"] = (None, [key.prefix for key in kept])
            AuditEvent.objects.record(
                by, "member.removed", self.user, tenant_id=self.tenant_id, changes=changes
            )

        self._serialized(change, by, "member.removal_refused", None)

    def _revoke_invitations(self, by: Actor) -> None:
        """Revoke the member's open invitations: they end with the right to invite."""
        for invitation in self.tenant.invitations.open().filter(invited_by=self.user_id):
            invitation.revoke(by)

    def _serialized(self, change: Callable[[], None], by: Actor, denied: str, role: str | None) -> None:
        """Run `change`; record it as action `denied` if it would leave the tenant without an admin."""
        try:
            self.tenant.serialized(change)
        except LastAdmin as error:
            changes = {"role": (self.role, role)}
            record_denial(by, denied, error.code, self.user, tenant_id=self.tenant_id, changes=changes)
            raise

    def _require_another_admin(self) -> None:
        others = Membership.objects.filter(tenant_id=self.tenant_id, role=Role.ADMIN).exclude(pk=self.pk)
        if self.role == Role.ADMIN and not others.exists():
            raise LastAdmin
