"""Values at the edges of number and date fields, and the fields of the API that take numbers and dates.

The fields are found in the OpenAPI schema and in the filters of lists: new ones are covered without being
listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from drf_spectacular.generators import SchemaGenerator

#: JSON texts, for fields of any type.
OTHER_TYPES = ("true", "null", '""', '" "', "[]", "{}", "[1]", '"1"', '"NaN"', '"Infinity"', '"1e5"', '"٣"')

_POWERS = (2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 10**30)

NUMBERS = (
    *("-1", "-0", "-0.0", "0", "1", "0.1", "1.0", "1.5", "-1.5", "3e0"),
    *(str(sign * power) for power in _POWERS for sign in (1, -1)),
    *(
        "1e30",
        "1e308",
        "-1e308",
        "1e400",
        "-1e400",
        "1e-400",
        "1e-6200",
        "5e-324",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *("0." + "1" * 40, "1" * 40 + ".5", "9" * 5000, "01", "+1", "1.", ".5", "0x10", "1_000"),
)

MOMENTS = (
    *(
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00-14:00",
        "0000-01-01T00:00:00Z",
    ),
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999+14:00"),
    *("10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
    *("2038-01-19T03:14:08Z", "2026-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
    *("2026-01-01T00:00:00", "2026-01-01", "2026-W01-1", "20260101T000000Z", "2026-01-01T24:00:00Z"),
    *("2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00.1234567890123Z"),
    *("2026-01-01T00:00:00[Europe/Nowhere]", "2026-01-01 00:00", "now", "1e400", "9" * 400, "0", "-1", "NaN"),
)

ZONES = (
    "",
    "UTC",
    "utc",
    "Europe/Nowhere",
    "../../etc/passwd",
    "/etc/passwd",
    "a" * 5000,
    "\x00",
    "+14:00",
    "Etc/GMT+14",
)


@dataclass(frozen=True)
class EdgeField:
    """A field of a request's body, by its path in it, that takes a number or a date."""

    method: str
    path: str
    names: tuple[str, ...]
    type: str
    minimum: float | None = None
    maximum: float | None = None

    @property
    def name(self) -> str:
        return ".".join(self.names)

    def literals(self) -> Iterator[str]:
        """Yield the JSON texts to send: around the field's bounds, beyond all bounds, of other types."""
        if self.type == "date-time":
            yield from (f'"{moment}"' for moment in MOMENTS)
        else:
            bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
            yield from (f"{bound + step:.16g}" for bound in bounds for step in (-1, -0.001, 0, 0.001, 1))
            yield from NUMBERS
        yield from OTHER_TYPES


def body_fields() -> Iterator[EdgeField]:
    """Yield every number and date field of every request's body. PATCH takes the same ones as PUT."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    components = schema["components"]["schemas"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content and not (method == "put" and "patch" in operations):
                yield from _fields_of(method, path, (), content["schema"], components)


def _fields_of(
    method: str, path: str, names: tuple[str, ...], schema: dict[str, Any], components: dict[str, Any]
) -> Iterator[EdgeField]:
    for reference in (schema.get("$ref"), *(part.get("$ref") for part in schema.get("allOf", []))):
        if reference:
            yield from _fields_of(method, path, names, components[reference.rpartition("/")[2]], components)
    types = schema.get("type", "")
    types = types if isinstance(types, list) else [types]
    kind = schema.get("format") if schema.get("format") == "date-time" else types[0]
    if kind in ("integer", "number", "date-time"):
        yield EdgeField(method, path, names, kind, schema.get("minimum"), schema.get("maximum"))
    for name, inner in schema.get("properties", {}).items():
        yield from _fields_of(method, path, (*names, name), inner, components)
