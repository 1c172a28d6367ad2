"""No secret is seen anywhere but in the one answer that shows it.

A real server is given marked secrets and goes through a day: people, keys, visitors, webhooks, providers
that fail in every way, errors of ours and a lost database. Then everything it left behind is searched.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from django.contrib import admin
from django.db import connection
from django.urls import reverse

from accounts.models import User
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.tenants import by, issue
from tenants.models import ApiKey, Invitation, Webhook

pytestmark = pytest.mark.slow

FAULTS = (
    *("400", "401", "402", "403", "404", "408", "429-bare", "498", "500", "502", "503", "504", "529"),
    *("context-length", "loading", "tool-use-failed", "content-filter", "prompt-blocked", "redirect"),
    *("cut", "error-chunk", "html", "502-html", "empty", "empty-answer", "wrong-encoding"),
)

SHOP = "https://shop.example"


def marked(name: str) -> str:
    """Return a secret long and random enough for production; no pattern of secrets recognises it."""
    return f"{name}.{secrets.token_urlsafe(36)}"


@dataclass
class Searched:
    """What was left behind, by where, and what must not be in it, by name."""

    secrets: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def leaks(self) -> list[str]:
        return [
            f"{name} in {place}"
            for name, secret in self.secrets.items()
            for place, text in self.places.items()
            if any(form in text for form in _forms(secret))
        ]


def _forms(secret: str) -> set[str]:
    """The ways in which a secret could be written down, and its unshown part alone."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    if secret.startswith("cap_"):
        telling = secret[20:-4]  # the rest is shown for recognition
    elif secret.startswith("eyJ"):
        telling = secret.rpartition(".")[2]
    else:
        telling = secret.partition("_")[2] if secret.startswith(("whsec_", "inv_")) else secret
    return {secret, encoded, quote(secret, safe=""), secret.encode().hex(), telling}


class Cable:
    """A relay to the database that can be cut."""

    def __init__(self, mongodb_uri: str) -> None:
        parts = urlsplit(mongodb_uri)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.uri = parts._replace(netloc=f"127.0.0.1:{port}", query="directConnection=true").geturl()
        self._ends = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # cut
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._ends += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@dataclass
class Talk:
    """Requests to the server; every answer is searched unless it is the one that shows a secret."""

    url: str
    searched: Searched
    mails: Path
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, *, shows: bool = False, **headers: str) -> Any:
        headers = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=60)
        if not shows:
            place = f"answer {len(self.searched.places)} {method} {path} {answer.status_code}"
            self.searched.places[place] = answer.text + str(dict(answer.headers))
        return answer

    def as_bearer(self, token: str, **headers: str) -> Talk:
        return Talk(self.url, self.searched, self.mails, {"Authorization": f"Bearer {token}", **headers})

    def mailed_token(self) -> str:
        """Return the token of the latest invitation, as its reader finds it."""
        return re.findall(r"inv_[\w-]+", "".join(mail.read_text() for mail in self.mails.iterdir()))[-1]


@pytest.fixture(params=["json", "console"])
def searched(request, database_uri: str, db: None, fake_server: FakeProvider, tmp_path: Path) -> Searched:
    """What is left behind by a day of a server that logs in this format."""
    fake_server.reset()
    found = Searched()
    names = ("SECRET_KEY", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "API_KEY_PEPPER")
    providers = ("GROQ", "GEMINI", "OPENROUTER", "OPENAI_COMPATIBLE")
    found.secrets |= {name: marked(name) for name in (*names, *(f"{one}_API_KEY" for one in providers))}
    variables = {
        **found.secrets,
        "LLM_ROUTE": "groq,gemini,openrouter",
        "LLM_BREAKER_FAILURES": "100000",
        "LLM_FIRST_TOKEN_SECONDS": "2",
        "LOG_FORMAT": request.param,
        "LOG_LEVEL": "DEBUG",
        "EMAIL_URL": f"filemail:///{tmp_path / 'mails'}",
    }
    for name in providers:
        variables[f"{name}_BASE_URL"] = fake_server.base_url(name.lower())
        variables[f"{name}_MODEL"] = "some-model"
    (tmp_path / "mails").mkdir()
    cable = Cable(database_uri)
    with RunningServer(cable.uri, tmp_path / "server", **variables) as server:
        talk = Talk(server.url, found, tmp_path / "mails")
        _a_day(talk, fake_server)
        cable.cut()
        _without_database(talk)
        server.stop()
        found.places["log"] = server.output
    return found


def _a_day(talk: Talk, fake: FakeProvider) -> None:
    keep = talk.searched.secrets
    keep["password"], keep["new password"], keep["staff password"] = (marked(f"Pass{n}") for n in range(3))
    credentials = {"email": "ann@example.com", "password": keep["password"]}

    # -- people
    signed_up = talk.ask("POST", "/api/auth/register", {**credentials, "name": "Ann"}, shows=True).json()
    talk.ask("POST", "/api/auth/register", credentials)
    talk.ask("POST", "/api/auth/register", {"email": "x", "password": keep["password"]})
    talk.ask("POST", "/api/auth/login", {**credentials, "password": keep["password"] + "!"})
    logged_in = talk.ask("POST", "/api/auth/login", credentials, shows=True).json()
    refreshed = talk.ask(
        "POST", "/api/auth/refresh-token", {"refresh": logged_in["refresh"]}, shows=True
    ).json()
    talk.ask("POST", "/api/auth/refresh-token", {"refresh": signed_up["refresh"][:-3] + "abc"})
    for name, tokens in (("first", signed_up), ("second", logged_in), ("third", refreshed)):
        keep |= {f"{name} access token": tokens["access"], f"{name} refresh token": tokens["refresh"]}
    ann = talk.as_bearer(signed_up["access"])
    ann.ask("GET", "/api/auth/sessions")
    passwords = {"current_password": keep["password"], "new_password": keep["new password"]}
    assert ann.ask("PUT", "/api/auth/change-password", passwords).status_code == 204
    ann.ask("PUT", "/api/auth/change-password", passwords)
    talk.ask("GET", f"/api/auth/profile?token={signed_up['access']}")

    # -- a tenant, its keys, team and webhooks
    tenant = ann.ask("POST", "/api/tenants", {"name": "Acme"}).json()["id"]
    here = f"/api/tenants/{tenant}"
    again = {"Idempotency_Key": "the-same-key"}
    new_key = {"name": "Site"}
    site_key = ann.ask("POST", f"{here}/api-keys", new_key, shows=True, **again).json()
    ann.ask("POST", f"{here}/api-keys", new_key, shows=True, **again)
    ann.ask("POST", f"{here}/api-keys", {**new_key, "name": "Other"}, **again)
    rotated = ann.ask("POST", f"{here}/api-keys/{site_key['id']}/rotate", {}, shows=True).json()
    public = {"name": "Page", "kind": "pk", "allowed_origins": [SHOP]}
    page_key = ann.ask("POST", f"{here}/api-keys", public, shows=True)
    assert page_key.status_code == 201, page_key.text
    keep |= {"key": site_key["key"], "rotated key": rotated["key"], "public key": page_key.json()["key"]}
    hook = {"url": "https://127.1/hook", "events": ["api_key.revoked"]}
    assert ann.ask("POST", f"{here}/webhooks", hook).status_code == 201
    hook = {"url": "https://hooks.example.com/", "events": ["api_key.revoked"]}
    made = ann.ask("POST", f"{here}/webhooks", hook, shows=True).json()
    keep["webhook secret"] = made["secret"]
    ann.ask("POST", f"{here}/webhooks/{made['id']}/test")
    assert ann.ask("POST", f"{here}/invitations", {"email": "bo@x.example", "role": "viewer"}).ok
    keep["invitation token"] = talk.mailed_token()
    assert ann.ask("POST", "/api/invitations/accept", {"token": keep["invitation token"]}).status_code == 404

    # -- chat, by the site and by a visitor
    site = Talk(talk.url, talk.searched, talk.mails, {"X-API-Key": rotated["key"]})
    assert site.ask("POST", "/api/chat", {"message": "Hello"}).status_code == 200
    site.ask("POST", "/api/chat", {"message": "Hello"}, Origin=SHOP)
    site.ask("GET", "/api/tenants/" + "0" * 24)
    talk.ask("GET", here, X_API_Key=rotated["key"][:-1] + "x")
    talk.ask("GET", here, Authorization=f"Bearer {rotated['key']}")
    page = Talk(talk.url, talk.searched, talk.mails, {"X-API-Key": page_key.json()["key"], "Origin": SHOP})
    opened = page.ask("POST", "/api/chat/sessions", {}, shows=True).json()
    keep["visitor token"] = opened["visitor_token"]
    visitor = talk.as_bearer(opened["visitor_token"], Origin=SHOP)
    messages = f"/api/chat/sessions/{opened['id']}/messages"
    assert visitor.ask("POST", messages, {"message": "Hello", "stream": True}).status_code == 200
    talk.as_bearer(opened["visitor_token"], Origin="https://evil.example").ask("GET", messages)

    # -- providers that fail, and one that repeats the key it was sent
    for fault in FAULTS:
        for provider, stream in (("groq", False), ("gemini", True)):
            asked = {"model": f"{provider}/fault-{fault}", "messages": [{"role": "user", "content": "Hi"}]}
            site.ask("POST", "/v1/chat/completions", {**asked, "stream": stream})
    for status in (400, 401, 500):
        told = json.dumps({"error": {"message": f"Incorrect API key provided: {keep['GROQ_API_KEY']}"}})
        headers = {"Content-Type": "application/json"}
        fake.script(provider="groq", raw={"status": status, "headers": headers, "pieces": [told]})
        site.ask("POST", "/api/chat", {"message": "Hello"})
        site.ask("POST", messages.replace(opened["id"], "0" * 24), {"message": "Hello"})
        ann.ask("POST", "/api/llm/test", {"provider": "groq"})
    fake.reset()

    # -- an error of ours
    digest = ApiKey.collection().find_one({"prefix": rotated["prefix"]})["digest"]
    ApiKey.collection().update_one({"prefix": rotated["prefix"]}, {"$set": {"digest": 7}})
    assert site.ask("GET", here).status_code == 500
    ApiKey.collection().update_one({"prefix": rotated["prefix"]}, {"$set": {"digest": digest}})

    # -- what others look at
    assert ann.ask("DELETE", f"{here}/api-keys/{rotated['id']}").status_code == 204
    assert site.ask("GET", here).status_code == 401
    for path in ("/audit", "/api-keys", "/webhooks", "/invitations", "/members", "/usage", ""):
        assert ann.ask("GET", here + path).status_code == 200
    for path in ("/health", "/ready", "/status", "/metrics", "/api/schema", "/api/llm/providers"):
        talk.ask("GET", path)
    _staff_looks_at_everything(talk)
    _dump(talk.searched)


def _staff_looks_at_everything(talk: Talk) -> None:
    password = talk.searched.secrets["staff password"]
    User.objects.create_superuser("staff@example.com", password)
    browser = requests.Session()
    login = f"{talk.url}{reverse('admin:login')}"
    browser.get(login, timeout=30)
    form = {"username": password, "password": password}  # typed into the wrong field
    form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
    assert browser.post(login, data=form, headers={"Referer": login}, timeout=30).status_code == 200
    form |= {"username": "staff@example.com", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    answer = browser.post(login, data=form, headers={"Referer": login}, timeout=30, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    paths = [reverse("admin:index")]
    for model in admin.site._registry:
        place = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        paths.append(reverse(f"{place}_changelist"))
        for row in model._default_manager.all()[:3]:
            paths += [reverse(f"{place}_change", args=[row.pk]), reverse(f"{place}_history", args=[row.pk])]
    for path in paths:
        page = browser.get(talk.url + path, timeout=30)
        assert page.status_code == 200, path
        talk.searched.places[f"console {path}"] = page.text


def _dump(searched: Searched) -> None:
    database = connection.database
    for name in database.list_collection_names():
        rows = list(database[name].find())
        searched.places[f"collection {name}"] = "\n".join(map(str, rows))


def _without_database(talk: Talk) -> None:
    keep = talk.searched.secrets
    credentials = {"email": "ann@example.com", "password": keep["new password"]}
    assert talk.ask("POST", "/api/auth/login", credentials).status_code == 503
    ann = talk.as_bearer(keep["first access token"])
    assert ann.ask("GET", "/api/auth/profile").status_code == 503
    site = Talk(talk.url, talk.searched, talk.mails, {"X-API-Key": keep["key"]})
    assert site.ask("POST", "/api/chat", {"message": "Hello"}).status_code == 503


def test_no_secret_is_left_anywhere(searched):
    _require_that_it_all_happened(searched)
    assert searched.leaks() == []


def _require_that_it_all_happened(searched: Searched) -> None:
    log = searched.places["log"]
    assert "Traceback" in log
    assert "unhandled exception" in log
    assert "database unreachable" in log
    assert log.count("/v1/chat/completions") >= 2 * len(FAULTS)
    trail = searched.places["collection tenants_auditevent"]
    for refused in ("api_key.refused", "user.login_failed", "user.password_change_refused"):
        assert refused in trail, refused
    for part in ("console /admin/tenants/apikey/", "collection tenants_webhook", "GET /metrics 200"):
        assert any(part in place for place in searched.places), part
    assert len(searched.secrets) >= 20


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("plain secret", "a plain secret here"),
        ("plain secret", base64.b64encode(b"plain secret").decode()),
        ("plain secret", "?q=plain%20secret"),
        ("plain secret", b"plain secret".hex()),
        ("cap_sk_live_12345678abcdefghijklmnop", "12345678 abcdefghijkl"),
        ("eyJhead.claims.signature", "{'signature': 1}"),
        ("whsec_abcdef", "key=abcdef"),
    ],
)
def test_a_secret_is_found_however_it_is_written(secret, text):
    assert Searched({"it": secret}, {"there": text}).leaks() == ["it in there"]


def test_no_object_shows_its_secret(acme, alice):
    issued = issue(acme, alice)
    rotated = issued.key.rotate(overlap=issued.key.updated_at - issued.key.created_at, by=by(alice))
    invited = Invitation.objects.send(acme, email="eve@example.com", role="viewer", by=by(alice))
    hook = Webhook.objects.register(acme, by=by(alice), url="https://x.example/", events=["api_key.issued"])
    for holder, secret in (
        (issued, issued.secret),
        (rotated, rotated.secret),
        (invited, invited.token),
        (hook, hook.secret),
        (hook.webhook, hook.secret),
        (issued.key, issued.secret),
    ):
        assert secret not in repr(holder)
        assert secret not in str(holder)
        assert secret not in str(vars(holder) if hasattr(holder, "__dict__") else "")
