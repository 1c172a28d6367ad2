"""One real conversation through the public HTTP API, from registration to analytics."""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Callable
from typing import Any

import requests

#: Without one, the small local model rambles.
SYSTEM_PROMPT = "You are a helpful assistant. Answer in one short sentence."
QUESTIONS = ("What is the capital of France?", "What is it famous for?")
#: Longer than a turn may take with all its attempts.
TIMEOUT_SECONDS = 150

Write = Callable[[str], None]


class ConversationFailed(Exception):
    """A response was not what the API promises; the message has the request, the status and the reason."""


class ApiClient:
    """JSON over HTTP, as any client of the product sends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # The server is on this machine, behind no proxy.

    def get(self, path: str, **headers: str) -> dict[str, Any]:
        return self._request("GET", path, None, headers)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        return self._request("POST", path, body, headers)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            response = self.session.request(
                method, self.url + path, json=body, headers=headers, timeout=TIMEOUT_SECONDS
            )
            content: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise ConversationFailed(f"{method} {path} got no usable response: {error}") from error
        if not response.ok:
            detail = content.get("detail", content)
            raise ConversationFailed(f"{method} {path} got status {response.status_code}: {detail}")
        return content


def run(url: str, write: Write) -> None:
    """Register, create tenant and key, ask `QUESTIONS`, and `write` a line per step.

    Raises ConversationFailed.
    """
    try:
        _run(ApiClient(url), write)
    except KeyError as error:
        raise ConversationFailed(f"A response lacks {error}.") from error


def _run(api: ApiClient, write: Write) -> None:
    account = {"email": f"visitor-{secrets.token_hex(4)}@example.com", "password": secrets.token_urlsafe(16)}
    api.post("/api/auth/register", {**account, "name": "Visitor"})
    write(f"\nRegistered {account['email']}.")
    bearer = "Bearer " + api.post("/api/auth/login", account)["access"]
    write("Logged in.")
    tenant = api.post("/api/tenants", {"name": "Demo shop"}, Authorization=bearer)
    write(f"Created the tenant {tenant['name']}, {tenant['id']}.")
    issued = api.post(f"/api/tenants/{tenant['id']}/api-keys", {"name": "Demo site"}, Authorization=bearer)
    write(f"Issued the API key {issued['prefix']}…{issued['last_four']}.")
    session = api.post(
        "/api/chat/sessions", {"title": "A demo", "system_prompt": SYSTEM_PROMPT}, X_API_Key=issued["key"]
    )
    write(f"Opened the session {session['id']}.\n")
    for question in QUESTIONS:
        turn = api.post(
            f"/api/chat/sessions/{session['id']}/messages", {"message": question}, X_API_Key=issued["key"]
        )
        _write_turn(question, turn["reply"], write)
    _write_analytics(api.get(f"/api/chat/tenants/{tenant['id']}/analytics", Authorization=bearer), write)


def _write_turn(question: str, reply: dict[str, Any], write: Write) -> None:
    if reply["status"] != "complete" or not reply["content"].strip():
        raise ConversationFailed(f"The reply is {reply['status']}: {reply['content']!r}.")
    usage = reply["usage"]
    write(f"You        {question}")
    write(textwrap.indent(textwrap.fill(reply["content"], 100), " " * 11).replace(" " * 11, "Assistant  ", 1))
    write(
        f"           - {reply['provider']}/{reply['model']}, {usage['input_tokens']} tokens in and "
        f"{usage['output_tokens']} out, {reply['latency_ms'] / 1000:.1f} s\n"
    )


def _write_analytics(analytics: dict[str, Any], write: Write) -> None:
    totals = analytics["totals"]
    tokens, cost, latency = totals["tokens"], totals["cost"], totals["latency_ms"]
    write("Analytics of the tenant:")
    write(f"  sessions  {totals['sessions']}")
    write(f"  replies   {totals['replies']['complete']} complete, {totals['attempts']['count']} attempts")
    write(f"  tokens    {tokens['input']} in, {tokens['output']} out")
    write(f"  cost      {cost['total']} {cost['currency']}")
    write(f"  latency   median {latency['p50']} ms, 95th percentile {latency['p95']} ms")
    for model in totals["models"]:
        write(f"  model     {model['replies']['complete']} by {model['provider']}/{model['model']}")
