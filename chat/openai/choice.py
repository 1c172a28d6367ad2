"""From the names in `model` and `fallbacks` to a route, and the names that can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.utils import timezone

from chat.openai.fields import invalid
from chat.openai.openai_errors import ModelNotFound
from chat.turns import ModelNotAllowed, requested_target, require_allowed_models
from llm import canonical, providers
from llm.catalogue import catalogue
from llm.routing import default_route, parse_route
from tenants.access import Access
from tenants.models import Tenant

#: Names the tenant's route, or the server's where the tenant has none.
DEFAULT = "default"


def chosen_route(access: Access, model: str, fallbacks: Sequence[str]) -> tuple[canonical.Target, ...]:
    """Return the targets to call in order.

    Raises ModelNotFound for a name that is not a model of this server, ModelNotAllowed for one that the key
    may not use.
    """
    named = (target for name in (model, *fallbacks) for target in _targets(access.tenant, name))
    route = tuple(dict.fromkeys(named))
    if not route:
        raise ModelNotFound("No provider is configured on this server.")
    require_allowed_models(access.key, route)
    return route


def targets_accepting(
    request: canonical.Request, route: Sequence[canonical.Target]
) -> tuple[canonical.Request, tuple[canonical.Target, ...]]:
    """Return the targets that accept all that `request` needs, and it with a note on each other one.

    Raises ValidationError if there are none.
    """
    needed = providers.needs(request)
    accepting = tuple(target for target in route if needed <= providers.get(target.provider).accepts)
    if not accepting:
        labels = ", ".join(dict.fromkeys(providers.get(target.provider).label for target in route))
        sentence = f"No model of the route accepts {', '.join(sorted(needed))}: it would be sent to {labels}."
        name = "logit_bias" if "logit_bias" in needed else "messages"
        raise invalid(name, sentence, "unsupported_parameter")
    passed_over = [target for target in route if target not in accepting]
    notes = (
        f"{target} was not called: it does not accept {', '.join(sorted(needed))}." for target in passed_over
    )
    return replace(request, notes=(*request.notes, *notes)), accepting


def available_models(access: Access) -> list[str]:
    """Return those names that the key may use, of `default`, the tenant's route and the known models.

    A provider may serve more: any `provider/model` can be requested.
    """
    today = timezone.now().date()
    default = _default_route(access.tenant)
    targets = [*default]
    for provider in providers.configured():
        targets += [canonical.Target(provider.name, provider.model)] if provider.model else []
        targets += [entry.target for entry in catalogue().of(provider.name) if not entry.retired(today)]
    key = access.key
    names = [str(target) for target in dict.fromkeys(targets) if key is None or key.allows_target(target)]
    return [DEFAULT, *names] if _may_use(access, default) else names


def _targets(tenant: Tenant, name: str) -> tuple[canonical.Target, ...]:
    if name == DEFAULT:
        return _default_route(tenant)
    try:
        (target,) = parse_route([requested_target(None, name) or name])
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
