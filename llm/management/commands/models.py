"""List the catalogue and compare it with what the configured providers list now."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from llm import errors, providers
from llm.catalogue import Model, Price, catalogue
from llm.policy import Policy
from llm.providers.base import ListedModel, Provider
from llm.route import default_route
from llm.serializers import shown_price


class Command(BaseCommand):
    help = "List known models with windows and prices; warn about models that providers no longer serve."
    requires_system_checks = ["llm"]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--provider", choices=list(providers.PROVIDERS), help="only this provider")
        parser.add_argument("--json", action="store_true", help="print models and warnings as JSON")
        parser.add_argument("--offline", action="store_true", help="do not call the providers")

    def handle(self, *args: Any, **options: Any) -> None:
        today = datetime.datetime.now(datetime.UTC).date()
        names = [options["provider"]] if options["provider"] else list(providers.PROVIDERS)
        models = [model for name in names for model in catalogue().of(name)]
        listed, failures = ({}, []) if options["offline"] else _listed_now(names)
        checked = catalogue().checked
        warnings = [*failures, *_age(checked, today), *_warnings(models, listed, today)]
        if options["json"]:
            document = {
                "checked": checked and checked.isoformat(),
                "models": [_as_json(model, listed, today) for model in models],
                "warnings": warnings,
            }
            self.stdout.write(json.dumps(document, indent=2))
            return
        self.stdout.write(f"catalogue of {checked}")
        self.stdout.write(f"{'model':<42} {'window':>9} {'max out':>8}  {'USD per 1M in/out':<20} notes")
        for model in models:
            self.stdout.write(_line(model, listed, today))
        for warning in warnings:
            self.stderr.write(self.style.WARNING(f"warning: {warning}"))


#: Prices and models change every few weeks; an older catalogue is probably wrong somewhere.
FRESH_DAYS = 45

#: Models by provider and id.
Listed = dict[str, dict[str, ListedModel]]


def _listed_now(names: list[str]) -> tuple[Listed, list[str]]:
    """Return what the configured providers list now, and a warning for each that failed."""
    configured = [provider for provider in providers.configured() if provider.name in names]
    limits = Policy.from_settings().limits(30)

    def list_models(provider: Provider) -> list[ListedModel] | errors.ProviderError:
        try:
            return provider.models(limits)
        except errors.ProviderError as error:
            return error

    listed: Listed = {}
    warnings = []
    with ThreadPoolExecutor(max_workers=max(1, len(configured))) as pool:
        for provider, result in zip(configured, pool.map(list_models, configured), strict=True):
            if isinstance(result, errors.ProviderError):
                warnings.append(f"{provider.name} could not list its models: {result}")
            else:
                listed[provider.name] = {model.id: model for model in result}
    return listed, warnings


def _age(checked: datetime.date | None, today: datetime.date) -> list[str]:
    if checked is None or (days := (today - checked).days) <= FRESH_DAYS:
        return []
    return [
        f"The catalogue was checked {days} days ago, on {checked}: update, or state prices in LLM_CATALOGUE."
    ]


def _warnings(models: list[Model], listed: Listed, today: datetime.date) -> list[str]:
    in_use = set(default_route())
    warnings = []
    for model in models:
        target = model.target
        if model.retired(today):
            if target in in_use:
                warnings.append(f"{target} is in the default route and was retired on {model.retires}.")
            if target.model in listed.get(target.provider, {}):
                warnings.append(f"{target} was to retire on {model.retires}, but {target.provider} lists it.")
            continue
        if target in in_use and model.retires:
            warnings.append(f"{target} is in the default route and retires on {model.retires}.")
        now = listed.get(target.provider)
        if now is None:
            continue
        if target.model not in now:
            warnings.append(f"{target} is in the catalogue, but {target.provider} does not list it.")
        elif (window := now[target.model].context_window) and model.context_window not in (None, window):
            warnings.append(f"{target} has a window of {window} now, not {model.context_window}.")
        if target.model in now and (change := _changed_price(model, now[target.model], today)):
            warnings.append(f"{target} costs {change}.")
    known = {model.target for model in models}
    for target in sorted(in_use - known, key=str):
        now = listed.get(target.provider)
        if now is not None and target.model not in now:
            warnings.append(f"{target} is in the default route, but {target.provider} does not list it.")
    return warnings


def _changed_price(model: Model, listed: ListedModel, today: datetime.date) -> str:
    """Return "0.20 / 0.40 now, not 0.10 / 0.40" if the provider lists another price, else ""."""
    price = model.price(today)
    if listed.prices is None or (price and (price.input, price.output) == listed.prices):
        return ""
    stated = " / ".join(f"{amount.normalize():f}" for amount in listed.prices)
    return f"{stated} now, not {_amounts(price)}" if price else f"{stated}, which the catalogue does not have"


def _as_json(model: Model, listed: Listed, today: datetime.date) -> dict[str, Any]:
    price = model.price(today)
    now = listed.get(model.target.provider)
    return {
        "provider": model.target.provider,
        "id": model.target.model,
        "context_window": model.context_window,
        "max_output": model.max_output,
        "tools": model.tools,
        "json_schema": model.json_schema,
        "vision": model.vision,
        "assistant_prefix": model.assistant_prefix,
        "reasoning_efforts": model.reasoning_efforts,
        "price": price and shown_price(price),
        "retires": model.retires and model.retires.isoformat(),
        "listed": None if now is None else model.target.model in now,
    }


def _line(model: Model, listed: Listed, today: datetime.date) -> str:
    price = model.price(today)
    coming = [price for price in model.prices if price.since and price.since > today]
    now = listed.get(model.target.provider)
    notes = [
        *([f"retired {model.retires}"] if model.retired(today) else []),
        *([f"retires {model.retires}"] if model.retires and not model.retired(today) else []),
        *(f"{_amounts(price)} from {price.since}" for price in coming),
        *(["not listed"] if now is not None and model.target.model not in now else []),
        *(["price changed"] if _price_is_stale(model, now, today) else []),
        *([f"cached input {price.cached_input}"] if price and price.cached_input is not None else []),
    ]
    shown = _amounts(price) if price else "unpriced"
    window, most = model.context_window or "?", model.max_output or "?"
    return f"{model.target!s:<42} {window:>9} {most:>8}  {shown:<20} {'; '.join(notes)}".rstrip()


def _price_is_stale(model: Model, now: dict[str, ListedModel] | None, today: datetime.date) -> bool:
    listed = (now or {}).get(model.target.model)
    return listed is not None and bool(_changed_price(model, listed, today))


def _amounts(price: Price) -> str:
    return f"{price.input} / {price.output}"
