"""One real conversation through the public HTTP API, from registration to analytics."""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Callable
from typing import Any

import requests

#: Without one the local model, small as it is, rambles.
SYSTEM_PROMPT = "You are a helpful assistant. Answer in one short sentence."
QUESTIONS = ("What is the capital of France?", "What is it famous for?")
#: Longer than a turn may take with all its attempts.
REPLY_SECONDS = 150


class Refused(Exception):
    """A request did not give what the API promises; the text names it, its status and its reason."""


class Api:
    """The product as its clients see it: JSON over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # The server is on this machine; no proxy is.

    def get(self, path: str, **headers: str) -> dict[str, Any]:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        return self._ask("POST", path, body, headers)

    def _ask(self, method: str, path: str, body: dict | None, headers: dict[str, str]) -> dict[str, Any]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answer = self.session.request(
                method, self.url + path, json=body, headers=headers, timeout=REPLY_SECONDS
            )
            content = answer.json()
        except requests.RequestException as error:
            raise Refused(f"{method} {path} got no usable answer: {error}") from error
        if not answer.ok:
            raise Refused(
                f"{method} {path} was answered {answer.status_code}: {content.get('detail', content)}"
            )
        return content


def hold(url: str, say: Callable[[str], None]) -> None:
    """Register, make tenant and key, ask `QUESTIONS`, and `say` all that comes back. Raises Refused."""
    try:
        _tell(Api(url), say)
    except KeyError as error:
        raise Refused(f"An answer lacks {error}.") from error


def _tell(api: Api, say: Callable[[str], None]) -> None:
    account = {"email": f"visitor-{secrets.token_hex(4)}@example.com", "password": secrets.token_urlsafe(16)}
    api.post("/api/auth/register", {**account, "name": "Visitor"})
    say(f"\nRegistered {account['email']}.")
    bearer = "Bearer " + api.post("/api/auth/login", account)["access"]
    say("Logged in.")
    tenant = api.post("/api/tenants", {"name": "Demo shop"}, Authorization=bearer)
    say(f"Created the tenant {tenant['name']}, {tenant['id']}.")
    issued = api.post(f"/api/tenants/{tenant['id']}/api-keys", {"name": "Demo site"}, Authorization=bearer)
    say(f"Issued the API key {issued['prefix']}…{issued['last_four']}.")
    session = api.post(
        "/api/chat/sessions", {"title": "A demo", "system_prompt": SYSTEM_PROMPT}, X_API_Key=issued["key"]
    )
    say(f"Opened the session {session['id']}.\n")
    for question in QUESTIONS:
        turn = api.post(
            f"/api/chat/sessions/{session['id']}/messages", {"message": question}, X_API_Key=issued["key"]
        )
        _show_turn(question, turn["reply"], say)
    _show_analytics(api.get(f"/api/chat/tenants/{tenant['id']}/analytics", Authorization=bearer), say)


def _show_turn(question: str, reply: dict[str, Any], say: Callable[[str], None]) -> None:
    if reply["status"] != "complete" or not reply["content"].strip():
        raise Refused(f"The reply is {reply['status']}: {reply['content']!r}.")
    usage = reply["usage"]
    say(f"You        {question}")
    say(textwrap.indent(textwrap.fill(reply["content"], 100), " " * 11).replace(" " * 11, "Assistant  ", 1))
    say(
        f"           - {reply['provider']}/{reply['model']}, {usage['input_tokens']} tokens in and "
        f"{usage['output_tokens']} out, {reply['latency_ms'] / 1000:.1f} s\n"
    )


def _show_analytics(analytics: dict[str, Any], say: Callable[[str], None]) -> None:
    totals = analytics["totals"]
    tokens, cost, latency = totals["tokens"], totals["cost"], totals["latency_ms"]
    say("Analytics of the tenant:")
    say(f"  sessions  {totals['sessions']}")
    say(f"  replies   {totals['replies']['complete']} complete, {totals['attempts']['count']} attempts")
    say(f"  tokens    {tokens['input']} in, {tokens['output']} out")
    say(f"  cost      {cost['total']} {cost['currency']}")
    say(f"  latency   {latency['p50']} ms in the middle, {latency['p95']} ms at the 95th percentile")
    for share in totals["models"]:
        say(f"  answered  {share['replies']['complete']} by {share['provider']}/{share['model']}")
