"""Refusals that a view answers with 401 or 403, put into the tenant's audit trail.

Of weight is what a member or a key of the tenant was not let do: a key that is revoked, expired, out of its
place or without the scope, a role that is too low, a suspended tenant. Not: what names nobody (unknown keys
and tokens), what must equal a missing object (404), and what a plan does not include, which is no matter of
rights.
"""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.access import Access, TenantSuspended
from tenants.models import ApiKey
from tenants.models.audit import Actor
from tenants.models.refusals import record_refusal

OF_THE_PLAN = {"streaming_not_in_plan", "model_unpriced"}


class RefusalsOnRecord:
    """For views. Requests that are let in do not come by here."""

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if response.status_code in (401, 403) and isinstance(exc, APIException):
            put_on_record(self.request, exc, vars(self).get("access"))
        return response


def put_on_record(request: Request, error: APIException, access: Access | None) -> None:
    """Record the refusal `error` if it is of weight. `access` is what the view has found out, if anything."""
    if access is None and isinstance(request.auth, Access):
        access = request.auth
    code = error.get_codes()
    if code in OF_THE_PLAN:
        return
    if key := getattr(error, "refused_key", None) or (access and access.key):
        _record_key(request, key, code)
    elif access is not None and access.user is not None:
        reason = "role_too_low" if code == "permission_denied" else code
        _record_member(request, access, reason)
    elif isinstance(error, TenantSuspended) and request.user.is_authenticated:
        _record_member(request, Access(error.tenant), code)


def _record_key(request: Request, key: ApiKey, code: str) -> None:
    by = Actor.at(request, key.prefix, key_id=key.pk)
    if key.is_public:
        # It stands in a page for all to read: its refusals come from as many addresses as anybody likes.
        by = replace(by, network="")
    record_refusal(by, "api_key.refused", _reason(key, code), key, tenant=key.tenant, asked=_asked(request))


def _reason(key: ApiKey, code: str) -> str:
    """Return more than the caller is told."""
    if code == "api_key_invalid":
        return "revoked" if key.revoked_at else "expired"
    return "scope_missing" if code == "permission_denied" else code


def _record_member(request: Request, access: Access, reason: str) -> None:
    by = Actor.of(request)
    record_refusal(by, "member.refused", reason, access.tenant, tenant=access.tenant, asked=_asked(request))


def _asked(request: HttpRequest | Request) -> str:
    """The route, not the path, which may name a visitor."""
    return f"{request.method} /{request.resolver_match.route}"
