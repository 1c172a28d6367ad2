"""Request bodies: JSON of limited size, depth and number of values, with keys that MongoDB can store."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from core.api.errors import PayloadTooLarge, UnsupportedCoding

MAX_DEPTH = 32
_MAX_INTEGER = 2**63 - 1


class StrictJSONParser(BaseParser):
    """Parses a JSON body of at most the bytes of its setting; 413 for a larger one, 415 for a compressed one.

    400 with a sentence for malformed JSON or UTF-8, too many values, more than 32 levels, NaN, infinity,
    duplicate keys, and what MongoDB can't store: integers beyond 64 bits, lone surrogates, NUL, and keys that
    it would read as an operator or a path.
    """

    media_type = "application/json"
    #: The setting with the largest size of a body, in bytes.
    max_bytes_setting = "DATA_UPLOAD_MAX_MEMORY_SIZE"
    max_depth = MAX_DEPTH
    #: A body of a mebibyte can hold 350,000 values, which take half a second to build and to check.
    max_values = 10_000

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        coding = parser_context["request"].headers.get("Content-Encoding", "") if parser_context else ""
        if coding.strip().lower() not in ("", "identity"):
            raise UnsupportedCoding(coding)
        limit: int = getattr(settings, self.max_bytes_setting)
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge(f"The body is larger than {limit} bytes.")
        if _holds_more_than(self.max_values, body):
            limits = f"more than {self.max_values:,} values, or is nested deeper than {self.max_depth} levels"
            raise ParseError(f"The body holds {limits}.")
        try:
            data = json.loads(
                body.decode("utf-8"),
                object_pairs_hook=_object_without_duplicate_keys,
                parse_constant=_reject_constant,
            )
        except UnicodeDecodeError as error:
            raise ParseError("The body is not UTF-8.") from error
        except RecursionError as error:
            raise ParseError(f"The body is nested deeper than {self.max_depth} levels.") from error
        except json.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error.msg} at character {error.pos}.") from error
        except ValueError as error:  # int() rejects numbers of thousands of digits
            raise ParseError("The body holds a number that is too long.") from error
        self._check(data, 1)
        return data

    def _check(self, value: Any, depth: int) -> None:
        if isinstance(value, str):
            self._check_text(value)
        elif isinstance(value, dict | list):
            if depth > self.max_depth:
                raise ParseError(f"The body is nested deeper than {self.max_depth} levels.")
            if isinstance(value, dict):
                for key in value:
                    self._check_key(key)
            for item in value.values() if isinstance(value, dict) else value:
                self._check(item, depth + 1)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ParseError("The body holds a number that is too large.")
        elif isinstance(value, int):
            self._check_integer(value)

    def _check_integer(self, value: int) -> None:
        if not -_MAX_INTEGER <= value <= _MAX_INTEGER:
            raise ParseError("The body holds an integer beyond 64 bits.")

    def _check_key(self, key: str) -> None:
        self._check_text(key)
        if key.startswith("$") or "." in key:
            raise ParseError(f"The key {key[:100]!r} is not allowed: no key may start with '$' or hold '.'.")

    def _check_text(self, text: str) -> None:
        if "\0" in text:
            raise ParseError("The body holds a NUL character.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ParseError("The body holds half of a surrogate pair.") from error


class PassThroughJSONParser(StrictJSONParser):
    """For bodies that are passed on and never stored: any key, integer and text that JSON can hold.

    JSON Schemas have keys like `$ref` and bounds beyond 64 bits. Half of a surrogate pair, which programs
    leave that cut texts by their length, becomes U+FFFD: UTF-8 has no form for it.
    """

    max_bytes_setting = "COMPLETIONS_MAX_BODY_BYTES"
    #: A schema of fifty objects within each other has two levels for each.
    max_depth = 128
    #: A long conversation with tools, and 128 tools with large schemas.
    max_values = 50_000

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return _without_lone_surrogates(super().parse(stream, media_type, parser_context))

    def _check_integer(self, value: int) -> None:
        pass

    def _check_key(self, key: str) -> None:
        pass

    def _check_text(self, text: str) -> None:
        pass


def _holds_more_than(limit: int, body: bytes) -> bool:
    """Whether a JSON body holds more than `limit` values, decided without parsing it.

    Each value but the outermost follows a comma or the bracket that opens its list or object. These are
    counted outside of strings, with a few passes at the speed of memchr. The count is exact as far as the
    body is well-formed, which is as far as the parser would build values.
    """
    if _count_separators(body) < limit:
        return False
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if (
        without_escapes.count(b'"') // 4 > limit
    ):  # each value has a string and a key, two quotes each, at most
        return True
    outside_of_strings = b"".join(without_escapes.split(b'"')[::2])
    return _count_separators(outside_of_strings) >= limit


def _count_separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _object_without_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ParseError("An object of the body names the same key twice.")
    return result


def _reject_constant(name: str) -> None:
    raise ParseError(f"{name} is not a JSON number.")


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        with contextlib.suppress(UnicodeEncodeError):
            if value.isascii() or value.encode():
                return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_lone_surrogates(name): _without_lone_surrogates(item) for name, item in value.items()
        }
    return value
