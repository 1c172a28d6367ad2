"""Cross-origin requests where CORS_ORIGIN names other pages than the tenant's."""

import pytest
from rest_framework.test import APIClient

from qa.testing.tenants import by, issue, with_key

SHOP = "https://shop.example"
ALLOWED = "Access-Control-Allow-Origin"


@pytest.fixture(autouse=True)
def only_the_console_is_allowed(settings):
    settings.CORS_ALLOW_ALL_ORIGINS = False
    settings.CORS_ALLOWED_ORIGINS = ["https://console.example"]


def preflight(origin):
    return APIClient().options(
        "/api/chat/sessions",
        HTTP_ORIGIN=origin,
        HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST",
        HTTP_ACCESS_CONTROL_REQUEST_HEADERS="x-api-key",
    )


def test_a_preflight_from_a_keys_origin_passes(public_key):
    response = preflight(SHOP)

    assert response[ALLOWED] == SHOP
    assert "x-api-key" in response["Access-Control-Allow-Headers"]


def test_a_preflight_from_a_tenants_origin_passes(alice, acme):
    acme.change(by(alice), allowed_origins=["https://*.acme.example"])

    assert preflight("https://www.acme.example")[ALLOWED] == "https://www.acme.example"


def test_a_preflight_from_an_unknown_origin_fails(public_key):
    assert ALLOWED not in preflight("https://evil.example")


def test_a_page_can_read_responses_to_its_own_key(public_key, acme):
    response = with_key(public_key.secret, HTTP_ORIGIN=SHOP).get(f"/api/tenants/{acme.pk}")

    assert response[ALLOWED] == SHOP


def test_a_page_of_another_origin_cannot(public_key, acme):
    evil = "https://evil.example"

    response = with_key(public_key.secret, HTTP_ORIGIN=evil).get(f"/api/tenants/{acme.pk}")

    assert ALLOWED not in response


def test_a_known_origin_without_a_key_cannot(public_key):
    assert ALLOWED not in APIClient().get("/api/tenants", HTTP_ORIGIN=SHOP)


@pytest.mark.parametrize("origin", ["app://obsidian.md", "null", "https://desk.example"])
def test_a_preflight_of_a_desktop_app_passes_once_a_key_allows_browsers(acme, alice, origin):
    assert ALLOWED not in preflight(origin)
    issue(acme, alice, allow_browser=True)

    response = preflight(origin)
    assert response[ALLOWED] == origin
    # The package of OpenAI sends x-stainless-lang and more; the asterisk does not stand for authorization.
    assert {"*", "authorization"} <= set(response["Access-Control-Allow-Headers"].split(", "))
