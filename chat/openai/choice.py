"""What `model` and `fallbacks` name, and what they may name."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from chat.openai.openai_errors import ModelNotFound
from chat.turns.options import requested_target, require_allowed_models
from chat.turns.turn_errors import ModelNotAllowed
from llm import canonical, providers
from llm.catalogue import catalogue
from llm.routing import default_route, parse_route
from tenants.access import Access
from tenants.models import Tenant

#: Names the tenant's route, or the server's where the tenant has none.
DEFAULT = "default"


def chosen_route(access: Access, model: str, fallbacks: Sequence[str]) -> tuple[canonical.Target, ...]:
    """Return the targets to try in order.

    Raises ModelNotFound for what is no model of this server, PermissionDenied for one the key may not use.
    """
    route = [target for name in (model, *fallbacks) for target in _named(access.tenant, name)]
    if not route:
        raise ModelNotFound("No provider is configured on this server.")
    route = tuple(dict.fromkeys(route))
    require_allowed_models(access.key, route)
    return route


def offered(access: Access) -> list[str]:
    """Return `default`, the tenant's route, and all known models of the configured providers.

    Of these, what the key may use. A provider may serve more: any `provider/model` can be asked for.
    """
    today = timezone.now().date()
    default = _default_route(access.tenant)
    targets = [*default]
    for provider in providers.configured():
        targets += [canonical.Target(provider.name, provider.model)] if provider.model else []
        targets += [entry.target for entry in catalogue().of(provider.name) if not entry.retired(today)]
    allowed = access.key.allowed_models
    names = [str(target) for target in dict.fromkeys(targets) if not allowed or str(target) in allowed]
    return [DEFAULT, *names] if _may_use(access, default) else names


def _named(tenant: Tenant, name: str) -> tuple[canonical.Target, ...]:
    if name == DEFAULT:
        return _default_route(tenant)
    try:
        (target,) = parse_route([requested_target(None, name)])
    except ValueError as error:
        raise ModelNotFound(str(error)) from error
    if not providers.get(target.provider).configured:
        raise ModelNotFound(f"{target.provider} is not configured on this server: {target} can't be asked.")
    return (target,)


def _default_route(tenant: Tenant) -> tuple[canonical.Target, ...]:
    return parse_route(tenant.route) if tenant.route else default_route()


def _may_use(access: Access, route: Sequence[canonical.Target]) -> bool:
    try:
        require_allowed_models(access.key, route)
    except ModelNotAllowed:
        return False
    return bool(route)
