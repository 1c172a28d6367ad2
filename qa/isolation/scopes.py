"""Every scope in the code that requests run, found in its syntax tree, and the code without it.

A *scope* is a condition that restricts a query to the documents of one tenant, session or user:

- `visible_to(…)`, `of_tenant(…)`, `present()`, and a related manager such as `tenant.api_keys`;
- an argument of `filter`, `get`, `exclude` or `get_object_or_404` on an owner: `tenant=…`;
- an entry of a raw query on an owner: `{"session_id": …}`, `match["tenant_id"] = …`, and the columns
  by which a `$lookup` joins one;
- a comparison of an owner's id;
- a look-up by a secret of the owner, and a caller's `rate_key` in what is stored for it.

They are found, not listed, so that a new scope is tested without an entry here.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from django.conf import settings

from accounts.models import User
from chat.models import ChatSession
from qa.isolation.exemptions import COMMANDS_ONLY, NOT_PRODUCT_CODE, STAFF_ONLY, WITHOUT_EFFECT
from tenants.models import Tenant, Webhook

FOLDERS = ("accounts", "tenants", "chat", "core/api", "core/audit")

#: Fields and columns that name a document's owner; the last two hide documents of deleted tenants.
OWNERS = {"tenant", "tenant_id", "user", "user_id", "session", "session_id", "visitor", "owner"}
OWNERS |= {"deleted_at", "tenant.deleted_at"}

#: Secrets of an owner: digests of its tokens, and of its idempotency keys.
SECRETS = {"digest", "idempotency"}

#: Keys of raw documents that are conditions: a bare `tenant` or `user` there is a label in an answer.
COLUMNS = {"tenant_id", "user_id", "session_id", "visitor", "tenant.deleted_at"}

_QUERIES = {"filter", "get", "exclude", "get_object_or_404"}
_SCOPING_CALLS = {"visible_to", "of_tenant", "present"}

#: Attributes that identify a caller.
_CALLER_KEYS = {"rate_key"}

#: Module, and qualified name within it.
Function = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope and one mutation of it.

    `change`: "drop", or for a comparison "always" true and "never" true. `node` is its number in a walk of
    the module's tree, `part` the number of the argument or entry within it.
    """

    module: str
    function: str
    line: int
    text: str
    change: str
    node: int
    part: int = -1

    @property
    def place(self) -> str:
        return f"{self.module}.{self.function}"

    @property
    def name(self) -> str:
        return f"{self.module}.{self}"

    def __str__(self) -> str:
        how = "" if self.change == "drop" else f" is {self.change} true"
        return f"{self.function}: {self.text}{how}"


def find_scopes() -> list[Scope]:
    """Return all scopes without an exemption, in the order of their files."""
    return [scope for scope in _all_scopes() if not (_only_in_commands(scope) or _has_no_effect(scope))]


def find_scopes_of_commands() -> list[Scope]:
    """Return those that no request should ever reach."""
    return [scope for scope in _all_scopes() if _only_in_commands(scope)]


def stale_exemptions() -> set[str]:
    """Return the exemptions whose code no longer exists."""
    found = {name for scope in _all_scopes() for name in (scope.module, scope.place, scope.name)}
    return (COMMANDS_ONLY.keys() | WITHOUT_EFFECT.keys()) - found


@contextmanager
def without(scope: Scope) -> Iterator[None]:
    """Run the product without `scope`, in this process."""
    tree = _parse(scope.module)
    node = list(ast.walk(tree))[scope.node]
    _Replacing(node, _changed(node, scope)).visit(tree)
    with _replaced(scope.module, scope.function, ast.fix_missing_locations(tree)):
        yield


#: Functions called since this was last cleared, within `recording_calls`.
called: set[Function] = set()


@contextmanager
def recording_calls(scopes: list[Scope]) -> Iterator[None]:
    """Make every function that contains one of `scopes` add itself to `called` when it is called."""
    with ExitStack() as stack:
        for module in {scope.module for scope in scopes}:
            tree = _parse(module)
            functions = {scope.function for scope in scopes if scope.module == module}
            for function, node in _functions(tree):
                record = f"__import__('{__name__}', fromlist=['called']).called.add({(module, function)!r})"
                node.body.insert(0, ast.parse(record).body[0])
            tree = ast.fix_missing_locations(tree)
            for function in functions:
                stack.enter_context(_replaced(module, function, tree))
        yield


# -- finding -------------------------------------------------------------------


@functools.cache
def _all_scopes() -> tuple[Scope, ...]:
    return tuple(scope for module in _modules() for scope in _scopes_of(module))


def _only_in_commands(scope: Scope) -> bool:
    return scope.module in COMMANDS_ONLY or scope.place in COMMANDS_ONLY


def _has_no_effect(scope: Scope) -> bool:
    return scope.name in WITHOUT_EFFECT


def _modules() -> Iterator[str]:
    for folder in FOLDERS:
        for path in sorted((Path(settings.BASE_DIR) / folder).rglob("*.py")):
            parts = path.relative_to(settings.BASE_DIR).with_suffix("").parts
            if not (NOT_PRODUCT_CODE | STAFF_ONLY).intersection(parts):
                yield ".".join(parts).removesuffix(".__init__")


@functools.cache
def _source(module: str) -> str:
    return Path(str(importlib.import_module(module).__file__)).read_text()


def _parse(module: str) -> ast.Module:
    return ast.parse(_source(module))


def _scopes_of(module: str) -> Iterator[Scope]:
    tree = _parse(module)
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    for function, body in _functions(tree):
        for node in (node for statement in body.body for node in ast.walk(statement)):
            for text, change, part in _found_in(node, function.partition(".")[0]):
                line = node.lineno if isinstance(node, ast.expr | ast.stmt) else body.lineno
                yield Scope(module, function, line, text, change, numbers[id(node)], part)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions and methods of a module with their qualified names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


def _found_in(node: ast.AST, class_name: str) -> Iterator[tuple[str, str, int]]:
    """Yield (text, change, part) of every scope that this node itself is, in the class `class_name`."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _QUERIES:
            for part, keyword in enumerate(node.keywords):
                if (keyword.arg or "").split("__")[0] in OWNERS | SECRETS or _names_owner(keyword.value):
                    yield ast.unparse(keyword), "drop", part
        case ast.Call(func=ast.Attribute(attr=name)) if name in _SCOPING_CALLS:
            yield f".{name}({', '.join(map(ast.unparse, node.args))})", "drop", -1
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in _CALLER_KEYS:
            yield ast.unparse(node), "drop", -1
        case ast.Attribute(value=owner, attr=name, ctx=ast.Load()) if name in related_managers():
            owner_name = ast.unparse(owner).split(".")[-1].replace("self", class_name)
            if owner_name in related_managers()[name].owners:
                yield ast.unparse(node), "drop", -1
        case ast.Dict():
            for part, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
                if key is not None and _is_condition(key, value):
                    yield f"{ast.unparse(key)}: {ast.unparse(value)}", "drop", part
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(), slice=ast.Constant(value=name))]) if (
            name in COLUMNS
        ):
            yield ast.unparse(node), "drop", -1
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            if any(_names_owner(side) for side in (left, right)):
                yield ast.unparse(node), "always", -1
                yield ast.unparse(node), "never", -1


def _is_condition(key: ast.expr, value: ast.expr) -> bool:
    if not isinstance(key, ast.Constant) or _is_output(value):
        return False
    if key.value == "foreignField":
        return isinstance(value, ast.Constant) and value.value in COLUMNS
    return key.value in COLUMNS | SECRETS or (key.value == "_id" and _names_owner(value))


def _is_output(value: ast.expr) -> bool:
    """Whether a dict holds `value` for an answer: as text, or as the 1 of a projection."""
    text = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "str"
    constant = isinstance(value, ast.Constant) and isinstance(value.value, int)
    return text or constant or isinstance(value, ast.List)


def _names_owner(expression: ast.expr) -> bool:
    """Whether an expression is the id of a tenant, session, user, visitor or their key."""
    text = ast.unparse(expression)
    ends = ("tenant.pk", "tenant_id", "session_id", "user.pk", "user.email", ".visitor", ".key_id", ".origin")
    parts = text.replace("['", ".").replace("']", "").replace("(", " ").replace(")", " ").split()
    return any(part.endswith(ends) for part in parts)


@dataclass(slots=True)
class _Manager:
    """A manager such as `tenant.api_keys`: its model, and the names of its owners in code."""

    model: str
    owners: set[str]


_OWNER_NAMES = {Tenant: "tenant", User: "user", ChatSession: "session", Webhook: "webhook"}


@functools.cache
def related_managers() -> dict[str, _Manager]:
    managers: dict[str, _Manager] = {}
    for owner, name in _OWNER_NAMES.items():
        for relation in owner._meta.related_objects:
            if relation.one_to_many and not relation.hidden:
                model = relation.related_model._meta.label_lower
                manager = managers.setdefault(str(relation.get_accessor_name()), _Manager(model, set()))
                manager.owners |= {name, owner.__name__}
    return managers


# -- mutating ------------------------------------------------------------------


class _Replacing(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _changed(node: ast.AST, scope: Scope) -> ast.AST:
    match node:
        case ast.Compare():
            return ast.Constant(scope.change == "always")
        case ast.Call() if scope.part >= 0:
            kept = [each for number, each in enumerate(node.keywords) if number != scope.part]
            return ast.Call(node.func, node.args, kept)
        case ast.Attribute(attr=name) if name in _CALLER_KEYS:
            return ast.Constant("")
        case ast.Call(func=ast.Attribute(value=queryset)):
            return ast.Call(ast.Attribute(queryset, "all", ast.Load()), [], [])
        case ast.Dict():
            return _without_entry(node, scope.part)
        case ast.Assign():
            return ast.Pass()
        case ast.Attribute():
            return ast.parse(_ALL.format(related_managers()[node.attr].model), mode="eval").body
    raise TypeError(node)


_ALL = "__import__('django.apps').apps.apps.get_model('{}')._default_manager"


def _without_entry(node: ast.Dict, part: int) -> ast.Dict:
    names = [ast.literal_eval(key) if isinstance(key, ast.Constant) else None for key in node.keys]
    dropped = {part}
    if names[part] == "foreignField":  # Both columns or none: the look-up then joins all documents.
        dropped |= {number for number, name in enumerate(names) if name == "localField"}
    kept = [number for number in range(len(names)) if number not in dropped]
    return ast.Dict([node.keys[number] for number in kept], [node.values[number] for number in kept])


@contextmanager
def _replaced(module: str, qualified: str, tree: ast.Module) -> Iterator[None]:
    """Replace the code of a function by that in `tree`, also for modules that have imported it."""
    function = _function(module, qualified)
    original = function.__code__
    compiled = compile(tree, original.co_filename, "exec", dont_inherit=True)
    function.__code__ = next(code for code in _codes(compiled) if code.co_qualname == original.co_qualname)
    try:
        yield
    finally:
        function.__code__ = original


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _function(module: str, qualified: str) -> FunctionType:
    """Return the function itself, without properties and decorators."""
    found: Any = importlib.import_module(module)
    for name in qualified.split("."):
        found = vars(found)[name]
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        found = next(
            getattr(found, name)
            for name in ("__wrapped__", "__func__", "fget", "func")
            if getattr(found, name, None) is not None
        )
    return found
