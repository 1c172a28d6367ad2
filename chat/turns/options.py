"""How a question is put: the request's wish, else the session's, else the tenant's, else the plan's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rest_framework.exceptions import PermissionDenied, ValidationError

from chat.turns.history import HISTORY_LIMIT, history
from core.errors import Forbidden, Unavailable
from llm import canonical, providers
from llm.catalogue import catalogue
from llm.routing import default_route, parse_route
from tenants.models import ApiKey, Plan, Tenant

#: Tokens kept free for the answer when nobody says how long it may be.
ANSWER_TOKENS = 1024

#: What the wire adds to each message (role, separators); generous, because reservations are upper bounds.
_TOKENS_A_MESSAGE = 16

#: Providers count a picture by its tiles; this is what the largest make.
_TOKENS_AN_IMAGE = 8192


class UnpricedRefused(Forbidden):
    default_code = "model_unpriced"
    default_detail = "The price of this model is not known, and the plan allows priced models only."


@dataclass(frozen=True, slots=True)
class Options:
    """What a turn is asked with."""

    route: tuple[canonical.Target, ...]
    system: str
    temperature: float | None
    max_tokens: int | None
    history_messages: int

    def request(self, question: str, messages: Sequence[dict]) -> canonical.Request:
        """Return the canonical request: system prompt, as much history as fits, and the question."""
        answer = self.max_tokens or ANSWER_TOKENS
        spent = token_bound(self.system) + token_bound(question) + answer
        earlier = history(
            messages,
            limit=self.history_messages,
            window_tokens=catalogue().get(self.route[0]).context_window,
            spent_tokens=spent,
        )
        return canonical.Request(
            messages=(*earlier, canonical.Message("user", question)),
            system=self.system,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )


def choose_options(tenant: Tenant, overrides: dict[str, Any], wish: dict[str, Any]) -> Options:
    """Return the options of one turn.

    `overrides` are the session's, `wish` is the validated body of the request.
    Raises 400 for a wish that can't be met and 503 when there is nobody to ask.
    """
    plan = tenant.plan
    route = _route(tenant, overrides, wish)
    wished = _first(wish.get("max_tokens"), overrides.get("max_tokens"), tenant.max_tokens)
    return Options(
        route=route,
        system=_first(overrides.get("system_prompt"), tenant.system_prompt) or "",
        temperature=_first(wish.get("temperature"), overrides.get("temperature"), tenant.temperature),
        max_tokens=_smallest(wished, longest_answer(plan, route)),
        history_messages=_smallest(tenant.history_messages, plan.history_messages, HISTORY_LIMIT),
    )


def longest_answer(plan: Plan, route: Sequence[canonical.Target]) -> int | None:
    """Return the tokens that an answer may have at most, None for no limit of ours.

    Where the plan limits tokens or money there always is one: what is not bounded
    can't be reserved.
    """
    models = [catalogue().get(target).max_output for target in route]
    limits = [plan.max_output_tokens, *models]
    if plan.max_output_tokens is None and None in models:
        if plan.tokens_per_month is None and plan.cost_per_month is None:
            return None
        limits.append(ANSWER_TOKENS)
    return _smallest(*limits)


def _route(tenant: Tenant, overrides: dict[str, Any], wish: dict[str, Any]) -> tuple[canonical.Target, ...]:
    wished = requested_target(wish.get("provider"), wish.get("model"))
    try:
        if wished:
            route = parse_route([wished])
        elif names := overrides.get("route") or tenant.route:
            route = parse_route(names)
        else:
            route = default_route()
    except ValueError as error:
        raise ValidationError({"model" if wished else "route": [str(error)]}) from error
    if not route:
        raise Unavailable(
            "No provider is configured. Set a provider's key or name a route.",
            "no_provider",
            retry_after_seconds=60,
        )
    return route


def requested_target(provider: str | None, model: str | None) -> str | None:
    """Return what `provider` and `model` of a request name, as a route would write it.

    A model alone may be `provider/model`, or the name of a model that the catalogue knows or that
    a provider has by default; of several providers the first that is configured is meant.
    """
    if provider:
        return f"{provider}/{model}" if model else provider
    if not model:
        return None
    known = [entry.target for entry in catalogue() if entry.target.model == model]
    for usable in providers.configured():
        if usable.model == model or canonical.Target(usable.name, model) in known:
            return f"{usable.name}/{model}"
    return str(known[0]) if known else model


def refuse_models(key: ApiKey | None, route: Sequence[canonical.Target]) -> None:
    """Raise 403 if the key has a list of models and a target of `route` is not on it."""
    if key is None or not key.allowed_models:
        return
    for target in route:
        if str(target) not in key.allowed_models:
            raise PermissionDenied(f"This key may not use {target}.", "model_not_allowed")


def reserve(plan: Plan, request: canonical.Request, route: Sequence[canonical.Target]) -> tuple[int, Decimal]:
    """Return the most tokens and US dollars that one answer can use, for a turn's reservation.

    Raises 403 where the plan refuses models without a price.
    """
    if plan.unpriced == Plan.Unpriced.REFUSE:
        today_unpriced = [t for t in route if catalogue().cost(t, canonical.Usage(1, 1))[0] is None]
        if today_unpriced:
            raise UnpricedRefused(f"The price of {today_unpriced[0]} is not known; the plan needs one.")
    return upper_bound(request, route)


def upper_bound(request: canonical.Request, route: Sequence[canonical.Target]) -> tuple[int, Decimal]:
    """Return the most tokens and US dollars that one call with `request` to any target of `route` can use."""
    texts = list(_texts(request))
    images = sum(len(message.images) for message in request.messages if message.images)
    sent = token_bound("".join(texts)) + len(texts) * _TOKENS_A_MESSAGE + images * _TOKENS_AN_IMAGE
    answer = request.max_tokens or max(
        (catalogue().get(target).max_output or ANSWER_TOKENS for target in route), default=ANSWER_TOKENS
    )
    bound = canonical.Usage(input=sent, output=answer)
    costs = [catalogue().cost(target, bound)[0] for target in route]
    return bound.total, max((cost for cost in costs if cost is not None), default=Decimal(0))


def _texts(request: canonical.Request) -> Iterator[str]:
    """Yield all that is sent as text, tools and schema included."""
    yield request.system
    for message in request.messages:
        yield message.text
        yield from (call.name + call.arguments for call in message.tool_calls)
    yield from (f"{tool.name}{tool.description}{json.dumps(tool.parameters)}" for tool in request.tools)
    if request.json_schema is not None:
        yield json.dumps(request.json_schema)


def token_bound(text: str) -> int:
    """No tokenizer in use makes more tokens of a text than it has UTF-8 bytes."""
    return len(text.encode("utf-8", "replace"))


def _first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), None)


def _smallest(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
