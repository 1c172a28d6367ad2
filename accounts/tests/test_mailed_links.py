"""The links of mails, whatever the request that sends them says of its host."""

from __future__ import annotations

import re

import pytest
from django.core import mail

from config import web_settings
from core.mailed_links import mailed_link
from qa.testing.accounts import PASSWORD
from qa.testing.waiting import wait_until


def test_a_link_has_address_and_token_in_its_fragment(settings):
    settings.PUBLIC_URL = "https://chat.example/assistant"

    link = mailed_link("/invitation", email="eve+shop@example.com", token="inv_a-b_c")

    assert link == "https://chat.example/assistant/invitation#email=eve%2Bshop%40example.com&token=inv_a-b_c"


def test_the_host_of_a_request_is_not_that_of_a_link(alice, client, settings):
    settings.PUBLIC_URL = "https://chat.example"
    alice.set_password(PASSWORD)
    alice.save(update_fields=["password"])
    body = {"email": alice.email}
    headers = {"HTTP_HOST": "evil.example", "HTTP_X_FORWARDED_HOST": "evil.example"}
    client.post("/api/auth/password-reset", body, "application/json", **headers)
    wait_until(lambda: mail.outbox, "the mail is sent")

    assert re.search(r"https://chat\.example/password-reset#", mail.outbox[0].body)
    assert "evil" not in mail.outbox[0].body


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://chat.example", "https://chat.example"),
        ("https://chat.example/", "https://chat.example"),
        ("http://127.0.0.1:3001", "http://127.0.0.1:3001"),
        ("https://chat.example:8443/assistant/", "https://chat.example:8443/assistant"),
        ("chat.example", ""),
        ("https://", ""),
        ("https://chat.example/a b", ""),
        ("https://chat.example?x=1", ""),
        ("ftp://chat.example", ""),
    ],
)
def test_the_platforms_own_url(text, url):
    problems: list[str] = []
    assert web_settings.public_url(text, problems) == url
    assert bool(problems) is not bool(url)


@pytest.mark.parametrize("path", ["/invitation", "/password-reset", "/confirm-email"])
def test_a_page_is_for_reading_and_may_not_be_framed(client, db, path):
    page = client.get(path)
    assert page.status_code == 200
    assert page["X-Frame-Options"] == "DENY"
    assert "unsafe" not in page["Content-Security-Policy"]
    assert not page.cookies
    assert client.post(path).status_code == 405
