"""What the rules of tenants refuse.

TenantRuleBroken        409
├── LastAdmin           the tenant would be left without an admin
├── AlreadyMember       the user has a role in the tenant already
├── PlanLimit           the plan allows no more keys or members
├── TooManyWebhooks     a tenant has only so many
└── InvitationClosed    accepted, revoked or expired
"""

from __future__ import annotations

from rest_framework.exceptions import APIException


class TenantRuleBroken(APIException):
    status_code = 409
    default_code = "conflict"


class LastAdmin(TenantRuleBroken):
    default_detail = "A tenant keeps at least one admin. Make somebody else an admin first."
    default_code = "last_admin"


class AlreadyMember(TenantRuleBroken):
    default_detail = "This user is a member already. Change the role instead."
    default_code = "already_member"


class PlanLimit(TenantRuleBroken):
    default_code = "plan_limit"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"The plan allows {limit} {what}, and all are taken.")


class KeyReplaced(TenantRuleBroken):
    default_detail = "This key was rotated already or works no more. Issue a new one."
    default_code = "key_replaced"


class InvitationClosed(TenantRuleBroken):
    default_detail = "This invitation was accepted, withdrawn or has expired. Ask for a new one."
    default_code = "invitation_closed"


class TooManyWebhooks(TenantRuleBroken):
    default_detail = "A tenant has at most 10 webhooks. Delete one first."
    default_code = "too_many_webhooks"
