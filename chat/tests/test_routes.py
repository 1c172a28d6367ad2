"""The route of a session and the model of a request: accepted and refused as a tenant's route is."""

from __future__ import annotations

import pytest

from chat.models import ChatSession
from chat.turns.options import choose_options
from llm.route import parse_route
from qa.testing.routes import INVALID_JSON_ROUTES, INVALID_ROUTES, VALID_ROUTES, messages

SESSIONS = "/api/chat/sessions"


@pytest.mark.parametrize("route", VALID_ROUTES.values(), ids=VALID_ROUTES)
def test_a_session_accepts_the_route(site, route):
    response = site.post(SESSIONS, {"route": route})

    assert response.status_code == 201, response.content
    assert response.json()["route"] == (route or None)


@pytest.mark.parametrize(
    ("route", "message"),
    [*INVALID_ROUTES.values(), *INVALID_JSON_ROUTES.values()],
    ids=[*INVALID_ROUTES, *INVALID_JSON_ROUTES],
)
def test_a_session_refuses_the_route(site, session, dave_client, route, message):
    assert messages(site.post(SESSIONS, {"route": route}))[0].startswith(message)
    assert messages(dave_client.put(f"{SESSIONS}/{session.pk}", {"route": route}))[0].startswith(message)


def test_null_removes_the_route_of_a_session(dave_client, session):
    path = f"{SESSIONS}/{session.pk}"
    dave_client.put(path, {"route": ["groq"]})

    assert dave_client.put(path, {"route": None}).json()["route"] is None
    assert ChatSession.objects.get(pk=session.pk).overrides == {}


@pytest.mark.parametrize("route", [route for route in VALID_ROUTES.values() if route])
def test_a_stored_route_is_used_whichever_side_stored_it(acme, route):
    expected = parse_route(route)

    assert choose_options(acme, {"route": route}, {}).route == expected
    acme.route = route
    assert choose_options(acme, {}, {}).route == expected


@pytest.mark.parametrize("route", [route for route in VALID_ROUTES.values() if len(route) == 1])
def test_a_request_may_name_each_target_that_a_route_may(acme, route):
    assert choose_options(acme, {}, {"model": route[0]}).route == parse_route(route)


SINGLE = {name: case for name, case in INVALID_ROUTES.items() if len(case[0]) == 1}


@pytest.mark.parametrize(("route", "message"), SINGLE.values(), ids=SINGLE)
def test_a_request_refuses_each_target_that_a_route_refuses(dave_client, session, route, message):
    response = dave_client.post(f"{SESSIONS}/{session.pk}/messages", {"message": "Hello", "model": route[0]})

    assert response.json()["errors"][0]["field"] == "model"
    assert messages(response)[0].startswith(message)
