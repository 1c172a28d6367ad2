"""The admin site and the API documentation in a real browser, under their Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from accounts.models import User
from chat.models import ChatSession, Message
from qa.testing.browser import browse
from qa.testing.server import RunningServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a long passphrase"


@pytest.fixture
def conversation(acme, dave) -> ChatSession:
    User.objects.create_superuser("staff@example.com", PASSWORD)
    session = ChatSession.objects.create(tenant=acme, user=dave, title="Order 17")
    for seq, (role, text) in enumerate([("user", "<i>Where</i> is it?"), ("assistant", "On its way.")], 1):
        Message.objects.create(session=session, tenant=acme, seq=seq, role=role, content=text)
    return session


@pytest.fixture
def server(conversation, mongodb_uri: str, tmp_path) -> Iterator[RunningServer]:
    with RunningServer(mongodb_uri, tmp_path) as running:
        yield running


def test_staff_sign_in_and_read_a_conversation(server, conversation):
    seen = {}

    def visit(page: Page) -> None:
        page.goto("/admin/")
        page.fill("input[name=username]", "staff@example.com")
        page.fill("input[name=password]", PASSWORD)
        page.click("input[type=submit]")
        page.wait_for_url("**/admin/")
        seen["title"] = page.title()
        page.click("text=Chat sessions")
        page.click("text=Order 17")
        seen["transcript"] = page.locator(".transcript").inner_text()
        seen["styled"] = page.locator(".transcript-assistant").evaluate(
            "element => [getComputedStyle(element).borderRadius, getComputedStyle(element).marginLeft]"
        )

    assert browse(server.url, visit) == []
    assert "Chat Agent Platform" in seen["title"]
    assert "<i>Where</i> is it?" in seen["transcript"]
    assert "On its way." in seen["transcript"]
    assert seen["styled"] == ["6px", "48px"]


def test_the_documentation_lists_the_endpoints(server):
    seen = {}

    def visit(page: Page) -> None:
        page.goto("/api/docs")
        page.wait_for_selector(".opblock-summary-path")
        seen["paths"] = page.locator(".opblock-summary-path").all_inner_texts()

    assert browse(server.url, visit) == []
    assert len(seen["paths"]) > 40
