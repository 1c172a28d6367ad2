"""The regular expressions of the product, and texts that make a bad one of them slow."""

from __future__ import annotations

import ast
import re
import re._constants as sre  # type: ignore[import-not-found]  # part of CPython 3.11 and later
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLResolver, get_resolver

from qa.hostile.source import Call, calls

_FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
_FIELDS = {"RegexField", "RegexValidator"}

#: Kinds of text that are worst for many patterns, beside those derived from each.
GENERAL = (
    *"( aA0-./:@%\"'\\\t\n\u00e9\u202e\U0001f600",
    *("-eyJ", "a@a.", '\\"', "a.", "a-", "0.", "0,", "://", "data:", "https://a.", "[]", "{}", "<think>"),
)
#: Put between repetitions: at a word's boundary many patterns may begin.
_SEPARATORS = ("", "-", " ")
#: Ends that make a match fail after all that was read.
_ENDS = ("", "\0")


@dataclass(frozen=True)
class Pattern:
    """A regular expression, the place where it is written, and the methods it is used with."""

    place: str
    regex: re.Pattern[Any]
    methods: tuple[str, ...]

    def apply(self, text: str) -> None:
        subject: Any = text.encode() if isinstance(self.regex.pattern, bytes) else text
        for method in self.methods:
            if method in ("sub", "subn"):
                getattr(self.regex, method)(subject[:0], subject)
            elif method == "finditer":
                for _ in self.regex.finditer(subject):
                    pass
            else:
                getattr(self.regex, method)(subject)

    def hostile_texts(self, length: int) -> Iterator[str]:
        """Yield texts of about `length` characters, derived from the pattern and general ones."""
        derived = (separator + seed for seed in seeds(self.regex) for separator in _SEPARATORS)
        for repeated in dict.fromkeys((*derived, *GENERAL)):
            for end in _ENDS:
                yield repeated * (length // len(repeated)) + end


def _patterns_of_pools() -> list[str]:
    [pools] = [call.node.args[1] for call in calls() if call.method == "SlotPools"]
    assert isinstance(pools, ast.Dict)  # noqa: S101 - for the type checker
    return [ast.literal_eval(key) for key in pools.keys if key is not None]


#: Patterns that are made of local values, by the place where they are compiled.
_COMPUTED: dict[str, Callable[[], list[str]]] = {
    "core.server.adapter:SlotPools.__init__": _patterns_of_pools,
    # Applied to the beginning and end of a text only: `qa.hostile.scanners` has their reader.
    "llm.providers.wording:Wording.__init__": list,
}


def product_patterns() -> list[Pattern]:
    """Return every pattern in the source and every pattern of a URL. Raises for one that can't be found."""
    found = [*_from_source(), *_from_urls(get_resolver())]
    return list({(pattern.regex, pattern.methods): pattern for pattern in found}.values())


def _from_source() -> Iterator[Pattern]:
    for call in calls():
        if call.place in _COMPUTED:
            for text in _COMPUTED[call.place]():
                yield Pattern(call.place, re.compile(text), ("search",))
        elif call.receiver == "re" and call.method in _FUNCTIONS:
            yield Pattern(call.place, _compiled(call), _methods(call))
        elif call.method in _FIELDS:
            yield Pattern(call.place, re.compile(call.evaluated(_regex_argument(call))), ("search",))


def _regex_argument(call: Call) -> ast.expr:
    named = {keyword.arg: keyword.value for keyword in call.node.keywords}
    return named.get("regex") or call.node.args[0]


def _compiled(call: Call) -> re.Pattern[Any]:
    """Return the pattern of `re.…(pattern, …, flags)`; flags are a keyword, or compile's second argument."""
    flags = [keyword.value for keyword in call.node.keywords if keyword.arg == "flags"]
    if call.method == "compile":
        flags += call.node.args[1:2]
    return re.compile(call.evaluated(call.node.args[0]), *(call.evaluated(flag) for flag in flags))


def _methods(call: Call) -> tuple[str, ...]:
    """Return the methods that the pattern is used with; for one that leaves its module, the hardest ones."""
    if call.method != "compile":
        return (call.method,)
    pattern = call.evaluated(call.node)
    names = [
        ".".join(filter(None, (other.receiver, other.method)))
        for other in calls()
        if other.module == call.module and other.method in _FUNCTIONS and other.receiver != "re"
    ]
    used = [name.rpartition(".")[2] for name in names if _is_name_of(call, name.rpartition(".")[0], pattern)]
    return tuple(sorted(set(used))) or ("search", "fullmatch")


def _is_name_of(call: Call, name: str, pattern: re.Pattern[Any]) -> bool:
    try:
        return bool(call.evaluated(ast.parse(name, mode="eval").body) == pattern)
    except (NameError, AttributeError, SyntaxError):
        return False


def _from_urls(resolver: URLResolver) -> Iterator[Pattern]:
    for entry in resolver.url_patterns:
        yield Pattern(f"URL {entry.pattern}", entry.pattern.regex, ("search",))
        if isinstance(entry, URLResolver):
            yield from _from_urls(entry)


def seeds(regex: re.Pattern[Any]) -> set[str]:
    """Return short texts that the pattern may begin with, and what its parts may repeat."""
    found: set[str] = set()
    _collect(list(parser.parse(regex.pattern, regex.flags)), found)
    return {seed for seed in found if seed}


def _collect(items: list[Any], found: set[str]) -> str:
    """Add each beginning of `items` to `found`, and the seeds of their parts; return a shortest match."""
    text = ""
    for code, value in items:
        for part in _parts(code, value):
            _collect(list(part), found)
        text += _sample(code, value)
        found.add(text[-40:])
    return text


def _parts(code: Any, value: Any) -> list[Any]:
    if code in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [value[2]]
    if code is sre.SUBPATTERN:
        return [value[3]]
    if code is sre.BRANCH:
        return list(value[1])
    if code is sre.ATOMIC_GROUP:
        return [value]
    return [value[1]] if code in (sre.ASSERT, sre.ASSERT_NOT) else []


def _sample(code: Any, value: Any) -> str:
    """Return a shortest text that one item of a pattern matches, of a repetition at least one round."""
    if code is sre.LITERAL:
        return chr(value)
    if code is sre.NOT_LITERAL:
        return "a" if value != ord("a") else "b"
    if code is sre.ANY:
        return "a"
    if code is sre.IN:
        return _member(value)
    if code in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        rounds: int = max(1, value[0])
        return _collect(list(value[2]), set()) * rounds
    if code is sre.ASSERT:
        return _collect(list(value[1]), set())
    parts = _parts(code, value) if code in (sre.SUBPATTERN, sre.BRANCH, sre.ATOMIC_GROUP) else []
    return _collect(list(parts[0]), set()) if parts else ""


_CATEGORIES: dict[Any, str] = {sre.CATEGORY_DIGIT: "0", sre.CATEGORY_SPACE: " ", sre.CATEGORY_WORD: "a"}


def _member(items: list[Any]) -> str:
    """Return a member of a class of characters."""
    code, value = items[0]
    if code is sre.NEGATE:
        excluded = re.compile("[^" + "".join(re.escape(_member([item])) for item in items[1:]) + "]")
        found = (char for char in "a0- !" if excluded.fullmatch(char))
        return next(found, "")
    if code is sre.CATEGORY:
        return _CATEGORIES.get(value, "!")
    number: int = value[0] if code is sre.RANGE else value
    return chr(number)
