"""Numbers and durations of the environment at their edges: used as they are, or refused by name."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import VARIABLES, Variable

EDGES = [
    *("-1", "-0", "0", "1", "65536", "2147483648", "9007199254740993", "9223372036854775808"),
    *("1" + "0" * 30, "9" * 5000, "0." + "1" * 40, "1e30", "1e308", "1e400", "1e-6200", "-1e400"),
    *("nan", "NaN", "inf", "Infinity", "-inf", "true", "null", "ten", "1 2", "0x10", "1_000", "١٢", "²"),
    *("1s", "-1s", "9" * 5000 + "d", "999999999999w", "1e3s", "1.5h", "ms", "15 m"),
]
NUMBERS = [variable for variable in VARIABLES if variable.kind in ("int", "float", "duration")]


@pytest.mark.parametrize("variable", NUMBERS, ids=lambda variable: variable.name)
def test_a_number_is_within_its_bounds_or_refused_by_name(variable: Variable):
    for text in EDGES:
        value, refusal = read(variable, text)
        if refusal:
            assert variable.name in refusal
            assert variable.meaning in refusal or "is not a duration" in refusal
            assert len(refusal) < 300
        else:
            assert math.isfinite(value), text
            assert variable.least <= value <= variable.most, text


def read(variable: Variable, text: str) -> tuple[float, str]:
    """Return the number, in seconds for durations, or the message of its refusal."""
    try:
        value = variable.value_of(text)
    except ImproperlyConfigured as error:
        return 0, str(error)
    return (value.total_seconds() if isinstance(value, timedelta) else value), ""


def test_every_number_has_bounds_that_its_default_keeps():
    for variable in NUMBERS:
        assert variable.least < variable.most
        variable.value_of("")
