"""Denials that a view answers with 401 or 403, recorded in the tenant's audit trail.

Recorded are denials of a known member or key of the tenant: a key that is revoked, expired, used in the
wrong place or without the scope, a role that is too low, a suspended tenant. Not recorded: credentials that
identify no one (unknown keys and tokens), what must look like a missing object (404), and what a plan does
not include, which is not a matter of rights.
"""

from __future__ import annotations

from dataclasses import replace

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api.actors import actor_of, source_of
from core.audit.denials import record_denial
from core.audit.models import Actor
from core.errors import DomainError
from tenants.access import Access, TenantSuspended
from tenants.authentication import InvalidKey, KeyMisused
from tenants.models import ApiKey

NOT_IN_PLAN = {"streaming_not_in_plan", "model_unpriced"}


class DenialAudit(APIView):
    """Mixin for views. Requests that are allowed cost nothing here."""

    #: The caller's access, from its credential or once the view has found it.
    access: Access | None = None

    def handle_exception(self, exc: Exception) -> Response:
        response: Response = super().handle_exception(exc)
        if response.status_code in (401, 403) and isinstance(exc, APIException | DomainError):
            record_if_significant(self.request, exc, self.access)
        return response


def record_if_significant(request: Request, error: APIException | DomainError, access: Access | None) -> None:
    """Record the denial `error` if a known member or key was denied.

    `access` is what the view has resolved so far, if anything.
    """
    code = error.code if isinstance(error, DomainError) else str(error.get_codes())
    if code in NOT_IN_PLAN:
        return
    if key := error.key if isinstance(error, InvalidKey | KeyMisused) else access and access.key:
        _record_key(request, key, code)
    elif access is not None and access.user is not None:
        reason = "role_too_low" if code == "permission_denied" else code
        _record_member(request, access, reason)
    elif isinstance(error, TenantSuspended) and request.user.is_authenticated:
        _record_member(request, Access(error.tenant), code)


def _record_key(request: Request, key: ApiKey, code: str) -> None:
    source = source_of(request)
    if key.is_public:
        # Anyone can read it in a page: its denials would come from any number of addresses.
        source = replace(source, network="")
    actor = Actor(key.prefix, key_id=key.pk, source=source)
    reason, asked = _reason(key, code), _asked(request)
    record_denial(actor, "api_key.refused", reason, key, tenant_id=key.tenant.pk, asked=asked)


def _reason(key: ApiKey, code: str) -> str:
    """Return the reason in more detail than the response gives it."""
    if code == "api_key_invalid":
        return "revoked" if key.revoked_at else "expired"
    return "scope_missing" if code == "permission_denied" else code


def _record_member(request: Request, access: Access, reason: str) -> None:
    tenant, asked = access.tenant, _asked(request)
    record_denial(actor_of(request), "member.refused", reason, tenant, tenant_id=tenant.pk, asked=asked)


def _asked(request: Request) -> str:
    """Return method and route; the path is not used because it may contain a visitor's id."""
    match = request.resolver_match
    return f"{request.method} /{match.route if match else ''}"
