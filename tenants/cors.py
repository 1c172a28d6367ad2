"""Cross-origin requests of pages that use a tenant's public key.

django-cors-headers sends a signal when CORS_ORIGIN does not name the page's origin; `allow_origin`
receives it.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from tenants.models import ApiKey, Tenant
from tenants.models.origins import is_localhost, patterns_allowing


def allow_origin(sender: Any, request: HttpRequest, **kwargs: Any) -> bool:
    """Whether the page may read the response.

    A preflight carries no key: it passes if any tenant or key allows its origin, if any secret key allows
    browsers, or if the page is on localhost. The request that follows is checked by its own key
    (tenants.authentication).
    """
    origin = request.headers.get("Origin", "")
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return (
            is_localhost(origin)
            or _is_allowed_by(origin, ApiKey)
            or _is_allowed_by(origin, Tenant)
            or ApiKey.collection().find_one({"allow_browser": True}, {"_id": 1}) is not None
        )
    return bool(origin) and getattr(request, "origin_of_key", None) == origin


def _is_allowed_by(origin: str, model: type[ApiKey] | type[Tenant]) -> bool:
    found = model.collection().find_one({"allowed_origins": {"$in": patterns_allowing(origin)}}, {"_id": 1})
    return found is not None
