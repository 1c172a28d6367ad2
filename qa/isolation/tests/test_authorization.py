"""Every action of every view below a tenant checks its caller's access."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from django.urls import URLPattern
from rest_framework.views import APIView

from core.audit.models import AuditEvent
from qa.isolation.cases import Case, parameters_of
from qa.isolation.matrix import Matrix
from qa.isolation.table import OPENAI, ROUTES, SESSION, SITE, TENANT, VISITORS, Id
from qa.testing.urls import url_patterns
from tenants.access.permission import HasRight
from tenants.access.views import TenantScopedView

pytestmark = pytest.mark.django_db

#: Credential policies of routes on which a caller acts in a tenant.
TENANT_POLICIES = {TENANT, SESSION, SITE, VISITORS, OPENAI}


def view_class(pattern: URLPattern) -> type[APIView] | None:
    """Return the class of a view, of a viewset too; None for a view that is a function."""
    return getattr(pattern.callback, "cls", None)


VIEWS = {
    route: found
    for route, pattern in url_patterns()
    if (found := view_class(pattern)) and issubclass(found, TenantScopedView)
}
ACTIONS = [(route, method) for route in VIEWS for method in ROUTES[route].allowed]


def test_every_route_on_which_a_caller_acts_in_a_tenant_has_such_a_view():
    assert {route for route, row in ROUTES.items() if row.policy in TENANT_POLICIES} == set(VIEWS)


@pytest.mark.parametrize("route", VIEWS)
def test_a_view_uses_the_permission_and_no_other(route: str):
    assert VIEWS[route].permission_classes == [HasRight]


def allowed_case(matrix: Matrix, route: str, method: str) -> Case:
    """Return a request with own ids by a caller with all rights on the route."""
    row = ROUTES[route]
    name = "admin" if row.allowed[method][0].roles else "sk"
    if row.policy in (SITE, VISITORS, OPENAI):
        name = "visitor" if row.policy is VISITORS else "sk"
    caller = matrix.dataset[name]
    return Case(route, method, caller, caller.header, (Id.OWN,) * len(parameters_of(route)))


@pytest.mark.parametrize(("route", "method"), ACTIONS)
def test_an_action_checks_the_access(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, route: str, method: str
):
    checked: set[ObjectId] = set()
    check = HasRight.has_object_permission

    def record(self: HasRight, request: Any, view: TenantScopedView, obj: object) -> bool:
        checked.add(view.access.tenant.pk)
        return check(self, request, view, obj)

    monkeypatch.setattr(HasRight, "has_object_permission", record)
    try:
        answer = matrix.request_case(allowed_case(matrix, route, method))
    finally:
        matrix.reset()

    assert answer.status == ROUTES[route].allowed[method][1]
    assert checked == {matrix.dataset.acme.tenant.pk}


@pytest.mark.parametrize(("route", "method"), ACTIONS)
def test_an_action_whose_access_is_denied_does_nothing(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, route: str, method: str
):
    monkeypatch.setattr(HasRight, "has_object_permission", lambda *args: False)
    try:
        status = matrix.request_case(allowed_case(matrix, route, method)).status
        changed = matrix.changed_collections()
    finally:
        matrix.reset()

    assert status == 403
    assert set(changed) <= {AuditEvent._meta.db_table}


def test_an_action_that_forgets_it_is_an_error(matrix: Matrix, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TenantScopedView, "authorize", lambda self, access: access)
    tenant = matrix.dataset.acme.tenant.pk

    response = matrix.request("GET", f"/api/tenants/{tenant}/usage", matrix.dataset["admin"])

    assert response.status == 500
    assert str(tenant) not in response.text
