"""Which page sends a request, and which pages are allowed: as browsers write origins."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.test import RequestFactory

from core.api.page_origin import page_origin
from core.origins import normalised_origin
from qa.testing.tenants import issue, problem, signed_in, with_key
from tenants.models import Tenant
from tenants.models.origins import origin_is_allowed


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://shop.example:0443", "https://shop.example"),
        ("https://shop.example:80", "https://shop.example:80"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://localhost:03000", "http://localhost:3000"),
        ("HTTPS://Shop.Example/", "https://shop.example"),
        (" https://shop.example ", "https://shop.example"),
        ("https://*.shop.example:443", "https://*.shop.example"),
        ("https://müller.example", "https://xn--mller-kva.example"),
        ("https://*.Müller.example:8443", "https://*.xn--mller-kva.example:8443"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_an_origin_is_stored_as_browsers_send_it(acme, alice, written, origin):
    assert normalised_origin(written) == origin
    if origin != "null":
        path = f"/api/tenants/{acme.pk}"
        changed = signed_in(alice).patch(path, {"allowed_origins": [written, origin]})
        assert changed.json()["allowed_origins"] == [origin], changed.content


def test_an_allowed_origin_with_a_default_port_matches_its_pages(acme, alice):
    created = signed_in(alice).post(
        f"/api/tenants/{acme.pk}/api-keys",
        {
            "name": "Page",
            "kind": "pk",
            "allowed_origins": ["https://shop.example:443", "https://müller.example"],
        },
    )
    for origin in ("https://shop.example", "https://xn--mller-kva.example"):
        page = with_key(created.json()["key"], HTTP_ORIGIN=origin)
        assert page.post("/api/chat/sessions", {}).status_code == 201


@pytest.mark.parametrize(
    "text", ["https://shop.example:65536", "https://shop.example//", "https://a:b", "://"]
)
def test_what_is_no_origin_stays_refused(acme, alice, text):
    response = signed_in(alice).patch(f"/api/tenants/{acme.pk}", {"allowed_origins": [text]})
    assert problem(response, 400) == "invalid"


def test_stored_origins_are_normalised_by_a_migration(acme, alice):
    Tenant.objects.filter(pk=acme.pk).update(
        allowed_origins=["https://Shop.example:443", "https://shop.example"]
    )
    key = issue(acme, alice, kind="pk").key
    type(key).objects.filter(pk=key.pk).update(allowed_origins=["http://a.example:80"])

    import_module("tenants.migrations.0017_normalised_origins").normalise_origins(apps, None)

    assert Tenant.objects.get(pk=acme.pk).allowed_origins == ["https://shop.example"]
    assert type(key).objects.get(pk=key.pk).allowed_origins == ["http://a.example"]


SAME = {"HTTP_HOST": "chat.example", "HTTP_SEC_FETCH_SITE": "same-origin"}


@pytest.mark.parametrize(
    ("method", "headers", "origin"),
    [
        ("GET", {}, ""),
        ("POST", {"HTTP_ORIGIN": "https://Shop.example"}, "https://shop.example"),
        ("GET", {**SAME, "secure": True}, "https://chat.example"),
        ("GET", {**SAME, "HTTP_HOST": "chat.example:8443", "secure": True}, "https://chat.example:8443"),
        ("HEAD", {**SAME, "HTTP_REFERER": "https://chat.example:8443/a?b#c"}, "https://chat.example:8443"),
        ("GET", {"HTTP_REFERER": "https://chat.example/page"}, "https://chat.example"),
        ("GET", {**SAME, "HTTP_ORIGIN": "null"}, "null"),
        ("GET", {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_REFERER": "https://shop.example/"}, ""),
        ("GET", {"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_REFERER": "https://shop.example/"}, ""),
        ("GET", {"HTTP_SEC_FETCH_SITE": "none", "HTTP_REFERER": "https://shop.example/"}, ""),
        ("POST", {"HTTP_REFERER": "https://shop.example/page"}, ""),
        ("GET", {"HTTP_REFERER": "https://[x/"}, ""),
        ("GET", {"HTTP_REFERER": "not a url"}, ""),
    ],
)
def test_the_page_of_a_request(method, headers, origin):
    options = dict(headers)
    secure = options.pop("secure", False)
    request = RequestFactory().generic(method, "/", secure=secure, **options)
    assert page_origin(request) == origin


def test_an_origin_header_is_compared_in_its_normalised_form():
    assert origin_is_allowed("HTTPS://shop.example:443", ["https://shop.example"])
    assert not origin_is_allowed("https://shop.example:444", ["https://shop.example"])
