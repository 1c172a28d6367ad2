"""Values in a provider's JSON, any of which may be missing or of another type than documented."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from llm.canonical import quantized_usd

#: A count above this is a provider's mistake: the largest context windows have 10 million tokens (2026-11).
MAX_TOKENS = 20_000_000

#: Of one call. What is plausible for its tokens is checked by the catalogue.
MAX_USD = Decimal(100_000)

#: What is kept of a model's name and of the id of a response.
MAX_NAME_LENGTH = 200

_MAX_NUMBER_LENGTH = 100


def as_dict(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_count(value: Any) -> int | None:
    """Return the token count in a number or its text; None for anything else, absurd counts included."""
    if isinstance(value, bool) or not _is_short_number(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number <= MAX_TOKENS else None  # False for NaN.


def as_usd(value: Any) -> Decimal | None:
    """Return the amount in a number or its text, in `USD_QUANTUM`s; None for anything else.

    None also for amounts that are negative, above `MAX_USD`, or so small that they would become 0.
    """
    if isinstance(value, bool) or not _is_short_number(value):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: str() of an int beyond 4,300 digits
        return None
    # Comparisons are exact and cheap for any exponent; arithmetic is not.
    if not amount.is_finite() or not 0 <= amount <= MAX_USD:
        return None
    return amount if amount == 0 else quantized_usd(amount) or None


def _is_short_number(value: Any) -> bool:
    """Whether `value` is a number, or a text short enough to be one: parsing a long one takes long."""
    return isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= _MAX_NUMBER_LENGTH)
