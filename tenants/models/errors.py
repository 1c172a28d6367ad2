"""The rules of tenants, as errors that models raise.

core.errors.Conflict    409
├── LastAdmin           the tenant would be left without an admin
├── AlreadyMember       the user already has a role in the tenant
├── PlanLimit           the plan allows no more keys, members or tenants of one owner
├── KeyReplaced         the key was rotated, revoked or has expired
├── InvitationClosed    accepted, revoked, expired, or without an inviter who may still invite
├── InvitationPending   the address has an open invitation to the tenant
└── TooManyWebhooks     the tenant has the largest number of webhooks
"""

from __future__ import annotations

from core.errors import Conflict


class LastAdmin(Conflict):
    default_code = "last_admin"
    default_detail = "A tenant keeps at least one admin. Make another member an admin first."


class AlreadyMember(Conflict):
    default_code = "already_member"
    default_detail = "This user is a member already. Change the role instead."


class PlanLimit(Conflict):
    default_code = "plan_limit"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"The plan allows {limit} {what}, and all are taken.")


class KeyReplaced(Conflict):
    default_code = "key_replaced"
    default_detail = "This key was rotated or revoked, or has expired. Issue a new one."


class InvitationClosed(Conflict):
    default_code = "invitation_closed"
    default_detail = "This invitation was accepted, withdrawn or has expired. Ask for a new one."


class InvitationPending(Conflict):
    default_code = "invitation_pending"
    default_detail = "An invitation to this address is open. Revoke it first, or wait until it expires."


class TooManyWebhooks(Conflict):
    default_code = "too_many_webhooks"
    default_detail = "A tenant has at most 10 webhooks. Delete one first."
