"""Every action of every view below a tenant judges the access that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from rest_framework.views import APIView

from core.audit.models import AuditEvent
from qa.isolation.cases import Cell, parameters_of
from qa.isolation.matrix import Matrix
from qa.isolation.table import ROUTES, Door, Id
from tenants.access.permission import HasRight
from tenants.access.views import TenantScopedView

pytestmark = pytest.mark.django_db

#: Doors of routes on which a caller acts in a tenant.
TENANT_DOORS = {Door.TENANT, Door.SESSION, Door.SITE, Door.OPENAI}


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each, path)
        else:
            yield path, each


def view_class(pattern: URLPattern) -> type[APIView] | None:
    """Return the class of a view, of a viewset too; None for a view that is a function."""
    return getattr(pattern.callback, "cls", None)


VIEWS = {
    route: found
    for route, pattern in patterns(get_resolver())
    if (found := view_class(pattern)) and issubclass(found, TenantScopedView)
}
ACTIONS = [(route, method) for route in VIEWS for method in ROUTES[route].may]


def test_every_route_on_which_a_caller_acts_in_a_tenant_has_such_a_view():
    assert {route for route, row in ROUTES.items() if row.door in TENANT_DOORS} == set(VIEWS)


@pytest.mark.parametrize("route", VIEWS)
def test_a_view_uses_the_permission_and_no_other(route: str):
    assert VIEWS[route].permission_classes == [HasRight]


def allowed_cell(matrix: Matrix, route: str, method: str) -> Cell:
    """Return a request with ids of its own by a caller who may do all that can be done there."""
    caller = matrix.world["sk" if ROUTES[route].door in (Door.SITE, Door.OPENAI) else "admin"]
    return Cell(route, method, caller, caller.header, (Id.OWN,) * len(parameters_of(route)))


@pytest.mark.parametrize(("route", "method"), ACTIONS)
def test_an_action_judges_the_access_it_uses(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, route: str, method: str
):
    judged: set[ObjectId] = set()
    judge = HasRight.has_object_permission

    def record(self: HasRight, request: Any, view: TenantScopedView, obj: object) -> bool:
        judged.add(view.access.tenant.pk)
        return judge(self, request, view, obj)

    monkeypatch.setattr(HasRight, "has_object_permission", record)
    try:
        assert matrix.ask(allowed_cell(matrix, route, method)).status == ROUTES[route].may[method][1]
    finally:
        matrix.fresh()

    assert judged == {matrix.world.acme.tenant.pk}


@pytest.mark.parametrize(("route", "method"), ACTIONS)
def test_an_action_whose_access_is_denied_does_nothing(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, route: str, method: str
):
    monkeypatch.setattr(HasRight, "has_object_permission", lambda *args: False)
    try:
        status = matrix.ask(allowed_cell(matrix, route, method)).status
        changed = matrix.changed_collections()
    finally:
        matrix.fresh()

    assert status == 403
    assert set(changed) <= {AuditEvent._meta.db_table}


def test_an_action_that_forgets_it_is_an_error(matrix: Matrix, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TenantScopedView, "authorize", lambda self, access: access)
    tenant = matrix.world.acme.tenant.pk

    response = matrix.request("GET", f"/api/tenants/{tenant}/usage", matrix.world["admin"])

    assert response.status == 500
    assert str(tenant) not in response.text
