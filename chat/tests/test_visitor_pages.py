"""A chat box in a real browser: on a page of the API's own origin, and on one of another origin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from chat.models import ChatSession, Message
from chat.visitor_identity import VisitorIdentity
from qa.fake_provider.server import FakeProvider
from qa.testing.browser import browser_context, launched, site_with
from qa.testing.server import RunningServer
from qa.testing.tenants import issue
from qa.testing.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: What a site writes for a chat box that keeps its visitor and conversation.
CHAT_BOX = """<!doctype html><title>Shop</title><script>
const kept = localStorage;
async function call(method, path, body) {
  const credential = kept.token ? { Authorization: `Bearer ${kept.token}` } : { "X-API-Key": KEY };
  const response = await fetch(API + path, {
    method,
    headers: { ...credential, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, data: response.status === 204 ? null : await response.json() };
}
async function openSession() {
  const { data } = await call("POST", "/api/chat/sessions", {});
  kept.token = data.visitor_token ?? kept.token;
  kept.session = data.id;
  return data;
}
const send = (message) => call("POST", `/api/chat/sessions/${kept.session}/messages`, { message });
const newest = () => call("GET", `/api/chat/sessions/${kept.session}/messages?ordering=-seq&page_size=2`);
const sessions = () => call("GET", "/api/chat/visitor/sessions");
async function stream(message) {
  const response = await fetch(`${API}/api/chat/sessions/${kept.session}/messages`, {
    method: "POST",
    headers: { Authorization: `Bearer ${kept.token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ message, stream: true }),
  });
  const text = await response.text();
  const id = [...text.matchAll(/^id: (.*)$/gm)].pop()[1];
  const reply = text.match(/"reply_id":"(\\w+)"/)[1];
  const resume = (from) => fetch(`${API}/api/chat/sessions/${kept.session}/messages/${reply}/stream`, {
    headers: { Authorization: `Bearer ${kept.token}`, ...(from && { "Last-Event-ID": from }) },
  });
  return [(await resume()).status, (await resume(id)).status];
}
</script>"""


@pytest.fixture(scope="module")
def server(
    database_uri: str, fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    variables = {
        "LLM_ROUTE": "groq",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "GROQ_API_KEY": "test-key",
        "CORS_ORIGIN": "https://console.example",
        # A token that is not used ends soon: what renews it in a conversation is its use.
        "VISITOR_TOKEN_SECONDS": "6",
    }
    folder = tmp_path_factory.mktemp("server")
    with RunningServer(database_uri, folder, **variables) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture
def context(browser, server, acme, alice, fake) -> Iterator[BrowserContext]:
    with browser_context(browser, server.url) as (opened, errors):
        yield opened
    assert [error for error in errors if "401" not in error] == []  # what a page reads as a status


def opened_page(context: BrowserContext, url: str, api: str, key: str) -> Page:
    """Return the page of `url` with its chat box; `key` is in the page's source."""
    page = context.new_page()
    page.add_init_script(f"globalThis.API = '{api}'; globalThis.KEY = '{key}';")
    page.goto(url)
    return page


def converse(page: Page, *, is_long: bool = False) -> None:
    """Hold a conversation over reloads; a long one takes longer than an unused token is valid."""
    assert page.evaluate("openSession()")["visitor"].startswith("v_")
    identity = VisitorIdentity.objects.get()
    first_end, count = identity.expires_at, 0
    longer = first_end - identity.created_at if is_long else timedelta(milliseconds=1)
    while identity.expires_at < first_end + longer:
        assert page.evaluate("send('Hello')")["status"] == 201
        count += 1
        identity.reread()
        page.reload()
        page.wait_for_timeout(700)  # a visitor who reads and types
    listed = page.evaluate("newest()")
    assert [message["seq"] for message in listed["data"]["results"]] == [2 * count, 2 * count - 1]
    assert page.evaluate("stream('More?')") == [200, 204]
    [session] = page.evaluate("sessions()")["data"]["results"]
    assert session["id"] == page.evaluate("kept.session")
    page.evaluate("openSession()")
    assert len(page.evaluate("sessions()")["data"]["results"]) == 2
    assert ChatSession.objects.values("visitor").distinct().count() == 1


def test_a_conversation_on_a_page_of_the_apis_own_origin(server, context, acme, alice):
    key = issue(acme, alice, kind="pk", allowed_origins=[server.url]).secret
    context.route("**/shop.html", lambda route: route.fulfill(body=CHAT_BOX, content_type="text/html"))

    converse(opened_page(context, f"{server.url}/shop.html", "", key), is_long=True)


def test_a_conversation_on_a_page_of_another_origin(server, context, acme, alice):
    with site_with(CHAT_BOX) as origin:
        key = issue(acme, alice, kind="pk", allowed_origins=[origin]).secret
        page = opened_page(context, f"{origin}/shop", server.url, key)

        converse(page)

        # Another page of the same site, in another tab: the same visitor and conversation.
        other = opened_page(context, f"{origin}/basket", server.url, key)
        assert other.evaluate("newest()")["status"] == 200
    assert Message.objects.exists()


def test_a_page_reads_that_its_token_has_ended(server, context, acme, alice):
    with site_with(CHAT_BOX) as origin:
        key = issue(acme, alice, kind="pk", allowed_origins=[origin]).secret
        page = opened_page(context, f"{origin}/shop", server.url, key)
        page.evaluate("openSession()")
        VisitorIdentity.objects.all().delete()
        wait_until(lambda: not VisitorIdentity.objects.exists(), "it is revoked")

        assert page.evaluate("sessions()")["data"]["code"] == "visitor_token_ended"


def test_a_sites_own_login_continues_on_the_page(server, context, acme, alice):
    with site_with(CHAT_BOX) as origin:
        acme.update(allowed_origins=[origin])
        site = issue(acme, alice, scopes=["sessions:read", "sessions:write", "messages:send"]).secret
        given = context.request.post(
            f"{server.url}/api/chat/tenants/{acme.pk}/visitor-tokens",
            headers={"X-API-Key": site},
            data={"visitor": "user-42", "origin": origin},
        ).json()
        page = opened_page(context, f"{origin}/account", server.url, "")
        page.evaluate("token => { kept.token = token }", given["visitor_token"])

        assert page.evaluate("openSession()")["visitor"] == "user-42"
        assert page.evaluate("send('Hello')")["status"] == 201
        assert len(page.evaluate("newest()")["data"]["results"]) == 2
