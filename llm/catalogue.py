"""The known models: context windows, capabilities, and prices with the day they take effect.

The data is `catalogue.json`; a file named by `LLM_CATALOGUE` adds entries or overrides single
fields of ours. A model in neither is *unknown*: it can be used, its cost is then null (never 0)
and nothing is assumed about it.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from llm.canonical import CostBasis, Target, Usage, quantized_usd
from llm.reasoning_effort import SCALE

BUILT_IN = Path(__file__).with_name("catalogue.json")

#: A reported cost above this is a provider's mistake: the most expensive models cost less than
#: 0.001 USD a token, and tools (web search) some cents a call (2026-11).
MAX_USD_PER_TOKEN = Decimal("0.002")
MAX_USD_PER_CALL = Decimal("1")

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, from `since` on (None: always).

    `cached_input` is the price of input that the provider had in its cache, None if it is that of `input`.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    since: datetime.date | None = None
    #: (input tokens, prices), ascending: prices of the whole call above that input.
    tiers: tuple[tuple[int, Price], ...] = ()

    def of(self, usage: Usage) -> Decimal:
        """Return the cost of `usage` in USD."""
        price = self
        for above, tier in self.tiers:
            if usage.input > above:
                price = tier
        cached = min(usage.cached, usage.input)
        cached_price = price.input if price.cached_input is None else price.cached_input
        fresh = (usage.input - cached) * price.input + cached * cached_price
        return (fresh + usage.output * price.output) / _MILLION


@dataclass(frozen=True, slots=True)
class Model:
    """One model at one provider. None means not known."""

    target: Target
    context_window: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    vision: bool | None = None
    #: Whether the model continues a conversation that ends with an assistant message.
    assistant_prefix: bool | None = None
    #: The levels of reasoning that can be requested; empty: none can.
    reasoning_efforts: tuple[str, ...] | None = None
    prices: tuple[Price, ...] = ()
    #: The first day on which the provider no longer serves it.
    retires: datetime.date | None = None

    def price(self, on: datetime.date) -> Price | None:
        """Return the price in effect on that day (UTC), or None if there is none."""
        in_effect = [price for price in self.prices if price.since is None or price.since <= on]
        return max(in_effect, key=lambda price: price.since or datetime.date.min, default=None)

    def retired(self, on: datetime.date) -> bool:
        return self.retires is not None and self.retires <= on


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`checked` is the day on which the built-in entries were compared with their sources."""

    models: dict[Target, Model]
    checked: datetime.date | None = None

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models.values())

    def get(self, target: Target) -> Model:
        """Return the entry of `target`; for an unknown model an empty one."""
        return self.models.get(target) or Model(target)

    def of(self, provider: str) -> list[Model]:
        return [model for model in self if model.target.provider == provider]

    def cost(
        self, target: Target, usage: Usage, on: datetime.date | None = None
    ) -> tuple[Decimal | None, CostBasis]:
        """Return the cost of `usage` in `USD_QUANTUM`s, and where it comes from.

        The cost that the provider reported, unless it is negative or implausible; else our
        price of that day (UTC, today by default); without one (None, "unpriced").
        """
        if usage.cost is not None and _is_plausible(usage.cost, usage):
            return quantized_usd(usage.cost), "reported"
        price = self.get(target).price(on or datetime.datetime.now(datetime.UTC).date())
        if price is None:
            return None, "unpriced"
        return quantized_usd(price.of(usage)), "estimated" if usage.estimated else "priced"


def _is_plausible(cost: Decimal, usage: Usage) -> bool:
    if not cost.is_finite() or cost < 0:
        return False
    return cost <= MAX_USD_PER_CALL + MAX_USD_PER_TOKEN * usage.total


def catalogue() -> Catalogue:
    """Return the catalogue in effect: the built-in one, overridden by the operator's file."""
    return _read(settings.LLM_CATALOGUE or "")


@functools.cache
def _read(operators_file: str) -> Catalogue:
    built_in = _document(BUILT_IN)
    entries = _entries(BUILT_IN, built_in)
    if operators_file:
        path = Path(operators_file)
        for target, fields in _entries(path, _document(path)).items():
            entries[target] = {**entries.get(target, {}), **fields}
    models = {target: Model(target, **fields) for target, fields in entries.items()}
    return Catalogue(models, checked=_day(built_in["checked"], "checked"))


# -- the file -----------------------------------------------------------------


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"Catalogue {path} cannot be read as JSON: {error}") from error


def _entries(path: Path, document: Any) -> dict[Target, dict[str, Any]]:
    """Return the fields that the file sets for each target.

    Raises ImproperlyConfigured, naming the file, the place and what to change.
    """
    try:
        models = _typed(document, dict, "the file").get("models")
        return dict(
            _entry(entry, f"models[{index}]") for index, entry in enumerate(_typed(models, list, "models"))
        )
    except ValueError as error:
        raise ImproperlyConfigured(f"Catalogue {path}: {error}") from error


def _entry(entry: Any, where: str) -> tuple[Target, dict[str, Any]]:
    entry = dict(_typed(entry, dict, where))
    provider, model = (_text(entry.pop(key, None), f"{where}.{key}") for key in ("provider", "id"))
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        place = f"{where}.{key}"
        if key not in _READERS:
            raise ValueError(
                f"{place} is not a known field; known are {', '.join(['provider', 'id', *_READERS])}."
            )
        fields[key] = _READERS[key](value, place)
    return Target(provider, model), fields


def _price(price: Any, where: str) -> Price:
    price = _typed(price, dict, where)
    if unknown := set(price) - {"from", *_AMOUNTS, "above_input_tokens"}:
        raise ValueError(f"{where}.{min(unknown)} is not a known field of a price.")
    tiers = []
    for above, tier in _typed(
        price.get("above_input_tokens", {}), dict, f"{where}.above_input_tokens"
    ).items():
        place = f"{where}.above_input_tokens.{above}"
        if not above.isdecimal():
            raise ValueError(f"{place} must be named by a number of tokens.")
        tier = _typed(tier, dict, place)
        tiers.append((int(above), Price(**_amounts(tier, place))))
    return Price(
        **_amounts(price, where),
        since=_day(price.get("from"), f"{where}.from"),
        tiers=tuple(sorted(tiers, key=lambda tier: tier[0])),
    )


_AMOUNTS = ("input", "cached_input", "output")


def _amounts(price: dict[str, Any], where: str) -> dict[str, Any]:
    required = {
        name: price.get(name) for name in _AMOUNTS if name != "cached_input" or price.get(name) is not None
    }
    return {name: _usd(amount, f"{where}.{name}") for name, amount in required.items()}


def _prices(prices: Any, where: str) -> tuple[Price, ...]:
    return tuple(
        _price(price, f"{where}[{index}]") for index, price in enumerate(_typed(prices, list, where))
    )


def _usd(value: Any, where: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= _MILLION:
        raise ValueError(
            f'{where} must be USD per million tokens as a decimal string up to a million, for example "0.15".'
        )
    return amount


def _day(value: Any, where: str) -> datetime.date | None:
    if value is None:
        return None
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f'{where} must be a day, for example "2027-01-31", or null.') from None


def _tokens(value: Any, where: str) -> int | None:
    if value is None or (type(value) is int and value > 0):
        return value
    raise ValueError(f"{where} must be a number of tokens above 0, or null.")


def _flag(value: Any, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"{where} must be true, false or null.")


def _efforts(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None or (isinstance(value, list) and all(level in SCALE for level in value)):
        return None if value is None else tuple(value)
    raise ValueError(f"{where} must be a list of {', '.join(SCALE)}, or null.")


def _text(value: Any, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f"{where} must be a text that is not empty.")


def _typed(value: Any, kind: type, where: str) -> Any:
    if isinstance(value, kind):
        return value
    raise ValueError(f"{where} must be {'an object' if kind is dict else 'a list'}.")


_READERS = {
    "context_window": _tokens,
    "max_output": _tokens,
    "tools": _flag,
    "json_schema": _flag,
    "vision": _flag,
    "assistant_prefix": _flag,
    "reasoning_efforts": _efforts,
    "prices": _prices,
    "retires": _day,
}
