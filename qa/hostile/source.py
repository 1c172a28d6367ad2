"""The product's source as syntax trees: what the tests of hostile input collect their subjects from."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

PACKAGES = ("config", "core", "console", "accounts", "tenants", "chat", "llm")
_EXCLUDED = {"tests", "migrations", "contrib_migrations"}


@dataclass(frozen=True)
class Call:
    """A call in the source. `function` is where it is, "" at the module's level; `method` what is called."""

    module: str
    function: str
    method: str
    node: ast.Call

    @property
    def place(self) -> str:
        return f"{self.module}:{self.function or self.node.lineno}"

    @property
    def receiver(self) -> str:
        """What is before the dot: `re` of `re.compile(…)`, "" without one."""
        func = self.node.func
        return ast.unparse(func.value) if isinstance(func, ast.Attribute) else ""

    def evaluated(self, argument: ast.expr) -> Any:
        """Return the value of an argument in the namespace of the module."""
        namespace = vars(importlib.import_module(self.module))
        return eval(compile(ast.Expression(argument), self.module, "eval"), namespace)  # noqa: S307 - own source


@cache
def calls() -> tuple[Call, ...]:
    """Return every call in the source of the product."""
    found: list[Call] = []
    for package in PACKAGES:
        for path in sorted((settings.BASE_DIR / package).rglob("*.py")):
            relative = path.relative_to(settings.BASE_DIR)
            if not _EXCLUDED & set(relative.parts):
                module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
                found += _calls_in(ast.parse(path.read_text()), module, [])
    return tuple(found)


def _calls_in(node: ast.AST, module: str, function: list[str]) -> Iterator[Call]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls_in(child, module, [*function, child.name])
            continue
        if isinstance(child, ast.Call):
            func = child.func
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            yield Call(module, ".".join(function), name, child)
        yield from _calls_in(child, module, function)
