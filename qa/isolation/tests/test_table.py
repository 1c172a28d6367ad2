"""The table has exactly the routes of the resolver, and every page of the console is for staff."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from bson import ObjectId
from django.test import Client

from accounts.models import User
from qa.isolation.cases import all_routes, routes
from qa.isolation.scopes import find_scopes
from qa.isolation.table import CONSOLE, CONSOLE_LOGIN, METHODS, ROUTES

CONSOLE_ROUTES = [route for route in all_routes() if route.startswith(CONSOLE) and route != CONSOLE_LOGIN]


def test_every_route_has_a_row_and_every_row_a_route():
    assert set(routes()) == set(ROUTES)


def test_scopes_are_found():
    assert len(find_scopes()) > 50


def console_path(route: str) -> str:
    path = re.sub(r"^admin/\^.*", "admin/tenants/", route)
    path = re.sub(r"<path:content_type_id>", "1", path)
    path = re.sub(r"<[^>]*>", str(ObjectId()), path)
    return "/" + path.replace(r"(?P", "").replace(".*)$", "nothing")


def statuses(client: Client, route: str, methods: Iterable[str]) -> set[tuple[int, str]]:
    answers = [client.generic(method, console_path(route)) for method in methods]
    return {(answer.status_code, answer.headers.get("Location", "").partition("?")[0]) for answer in answers}


@pytest.mark.parametrize("route", CONSOLE_ROUTES)
def test_a_console_page_is_for_staff(db, route: str):
    customer, staff = Client(), Client(raise_request_exception=False)
    customer.force_login(User.objects.create_user("customer@example.com"))
    staff.force_login(User.objects.create_user("staff@example.com", is_staff=True))

    for refused in (Client(), customer):
        answered = statuses(refused, route, METHODS)
        assert {location for _, location in answered} <= {"/admin/login/", "/admin/"}
        assert {status for status, _ in answered} == {302}
    if route != "admin/logout/":
        assert "/admin/login/" not in {location for _, location in statuses(staff, route, ["GET"])}
