"""No secret is anywhere but in the one answer that shows it.

A real server is configured with random secrets and used in every way: users, keys, visitors, webhooks,
providers that fail, internal errors and a lost database. Then everything that it wrote is search.
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


def random_secret(name: str) -> str:
    """Return a secret long enough for production that matches no pattern of redaction."""
    return f"{name}.{secrets.token_urlsafe(36)}"


@dataclass
class SecretSearch:
    """Secrets by name, and texts by place: no text may contain a secret."""

    secrets: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def leaks(self) -> list[str]:
        return [
            f"{name} in {place}"
            for name, secret in self.secrets.items()
            for place, text in self.texts.items()
            if any(form in text for form in _forms(secret))
        ]


def _forms(secret: str) -> set[str]:
    """Return the encodings of a secret, and its secret part alone."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    if secret.startswith("cap_"):
        secret_part = secret[20:-4]  # the rest is shown, for recognition
    elif secret.startswith("eyJ"):
        secret_part = secret.rpartition(".")[2]
    else:
        secret_part = secret.partition("_")[2] if secret.startswith(("whsec_", "inv_")) else secret
    return {secret, encoded, quote(secret, safe=""), secret.encode().hex(), secret_part}


class DatabaseProxy:
    """A TCP proxy to the database whose connections can be cut."""

    def __init__(self, mongodb_uri: str) -> None:
        parts = urlsplit(mongodb_uri)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.uri = parts._replace(netloc=f"127.0.0.1:{port}", query="directConnection=true").geturl()
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # once it is cut
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for source, destination in ((client, server), (server, client)):
                    threading.Thread(target=_forward, args=(source, destination), daemon=True).start()


def _forward(source: socket.socket, destination: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            destination.sendall(data)


@dataclass
class RecordingClient:
    """A client whose answers are searched, except the ones that show a secret."""

    url: str
    search: SecretSearch
    mail_folder: Path
    headers: dict[str, str] = field(default_factory=dict)

    def request(
        self, method: str, path: str, body: Any = None, *, shows_secret: bool = False, **headers: str
    ) -> Any:
        headers = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=60)
        if not shows_secret:
            place = f"answer {len(self.search.texts)} {method} {path} {answer.status_code}"
            self.search.texts[place] = answer.text + str(dict(answer.headers))
        return answer

    def with_token(self, token: str, **headers: str) -> RecordingClient:
        return RecordingClient(
            self.url, self.search, self.mail_folder, {"Authorization": f"Bearer {token}", **headers}
        )

    def mailed_token(self) -> str:
        """Return the token in the latest invitation mail."""
        return re.findall(r"inv_[\w-]+", "".join(mail.read_text() for mail in self.mail_folder.iterdir()))[-1]


@pytest.fixture(params=["json", pytest.param("console", marks=pytest.mark.proof)])
def search(request, database_uri: str, db: None, fake_server: FakeProvider, tmp_path: Path) -> SecretSearch:
    """Everything that a server wrote which logs in this format."""
    fake_server.reset()
    search = SecretSearch()
    names = ("SECRET_KEY", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "API_KEY_PEPPER")
    providers = ("GROQ", "GEMINI", "OPENROUTER", "OPENAI_COMPATIBLE")
    search.secrets |= {
        name: random_secret(name) for name in (*names, *(f"{one}_API_KEY" for one in providers))
    }
    variables = {
        **search.secrets,
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
    proxy = DatabaseProxy(database_uri)
    with RunningServer(proxy.uri, tmp_path / "server", **variables) as server:
        client = RecordingClient(server.url, search, tmp_path / "mails")
        _use_all_features(client, fake_server)
        proxy.cut()
        _use_without_database(client)
        server.stop()
        search.texts["log"] = server.output
    return search


def _use_all_features(client: RecordingClient, fake: FakeProvider) -> None:
    known = client.search.secrets
    known["password"], known["new password"], known["staff password"] = (
        random_secret(f"Pass{n}") for n in range(3)
    )
    credentials = {"email": "ann@example.com", "password": known["password"]}

    # -- users
    signed_up = client.request(
        "POST", "/api/auth/register", {**credentials, "name": "Ann"}, shows_secret=True
    ).json()
    client.request("POST", "/api/auth/register", credentials)
    client.request("POST", "/api/auth/register", {"email": "x", "password": known["password"]})
    client.request("POST", "/api/auth/login", {**credentials, "password": known["password"] + "!"})
    logged_in = client.request("POST", "/api/auth/login", credentials, shows_secret=True).json()
    refreshed = client.request(
        "POST", "/api/auth/refresh-token", {"refresh": logged_in["refresh"]}, shows_secret=True
    ).json()
    client.request("POST", "/api/auth/refresh-token", {"refresh": signed_up["refresh"][:-3] + "abc"})
    for name, tokens in (("first", signed_up), ("second", logged_in), ("third", refreshed)):
        known |= {f"{name} access token": tokens["access"], f"{name} refresh token": tokens["refresh"]}
    ann = client.with_token(signed_up["access"])
    ann.request("GET", "/api/auth/sessions")
    passwords = {"current_password": known["password"], "new_password": known["new password"]}
    assert ann.request("PUT", "/api/auth/change-password", passwords).status_code == 204
    ann.request("PUT", "/api/auth/change-password", passwords)
    client.request("GET", f"/api/auth/profile?token={signed_up['access']}")

    # -- a tenant, its keys, team and webhooks
    tenant = ann.request("POST", "/api/tenants", {"name": "Acme"}).json()["id"]
    here = f"/api/tenants/{tenant}"
    again = {"Idempotency_Key": "the-same-key"}
    new_key = {"name": "Site"}
    site_key = ann.request("POST", f"{here}/api-keys", new_key, shows_secret=True, **again).json()
    ann.request("POST", f"{here}/api-keys", new_key, shows_secret=True, **again)
    ann.request("POST", f"{here}/api-keys", {**new_key, "name": "Other"}, **again)
    rotated = ann.request("POST", f"{here}/api-keys/{site_key['id']}/rotate", {}, shows_secret=True).json()
    public = {"name": "Page", "kind": "pk", "allowed_origins": [SHOP]}
    page_key = ann.request("POST", f"{here}/api-keys", public, shows_secret=True)
    assert page_key.status_code == 201, page_key.text
    known |= {"key": site_key["key"], "rotated key": rotated["key"], "public key": page_key.json()["key"]}
    webhook = {"url": "https://127.1/webhook", "events": ["api_key.revoked"]}
    assert ann.request("POST", f"{here}/webhooks", webhook).status_code == 201
    webhook = {"url": "https://hooks.example.com/", "events": ["api_key.revoked"]}
    made = ann.request("POST", f"{here}/webhooks", webhook, shows_secret=True).json()
    known["webhook secret"] = made["secret"]
    ann.request("POST", f"{here}/webhooks/{made['id']}/test")
    assert ann.request("POST", f"{here}/invitations", {"email": "bo@x.example", "role": "viewer"}).ok
    known["invitation token"] = client.mailed_token()
    assert (
        ann.request("POST", "/api/invitations/accept", {"token": known["invitation token"]}).status_code
        == 404
    )

    # -- chat, by the site and by a visitor
    site = RecordingClient(client.url, client.search, client.mail_folder, {"X-API-Key": rotated["key"]})
    assert site.request("POST", "/api/chat", {"message": "Hello"}).status_code == 200
    site.request("POST", "/api/chat", {"message": "Hello"}, Origin=SHOP)
    site.request("GET", "/api/tenants/" + "0" * 24)
    client.request("GET", here, X_API_Key=rotated["key"][:-1] + "x")
    client.request("GET", here, Authorization=f"Bearer {rotated['key']}")
    page = RecordingClient(
        client.url, client.search, client.mail_folder, {"X-API-Key": page_key.json()["key"], "Origin": SHOP}
    )
    opened = page.request("POST", "/api/chat/sessions", {}, shows_secret=True).json()
    known["visitor token"] = opened["visitor_token"]
    visitor = client.with_token(opened["visitor_token"], Origin=SHOP)
    messages = f"/api/chat/sessions/{opened['id']}/messages"
    assert visitor.request("POST", messages, {"message": "Hello", "stream": True}).status_code == 200
    client.with_token(opened["visitor_token"], Origin="https://evil.example").request("GET", messages)

    # -- providers that fail, and one that repeats the key it was sent
    for fault in FAULTS:
        for provider, stream in (("groq", False), ("gemini", True)):
            asked = {"model": f"{provider}/fault-{fault}", "messages": [{"role": "user", "content": "Hi"}]}
            site.request("POST", "/v1/chat/completions", {**asked, "stream": stream})
    for status in (400, 401, 500):
        error = json.dumps({"error": {"message": f"Incorrect API key provided: {known['GROQ_API_KEY']}"}})
        headers = {"Content-Type": "application/json"}
        fake.script(provider="groq", raw={"status": status, "headers": headers, "pieces": [error]})
        site.request("POST", "/api/chat", {"message": "Hello"})
        site.request("POST", messages.replace(opened["id"], "0" * 24), {"message": "Hello"})
        ann.request("POST", "/api/llm/test", {"provider": "groq"})
    fake.reset()

    # -- an internal error
    digest = ApiKey.collection().find_one({"prefix": rotated["prefix"]})["digest"]
    ApiKey.collection().update_one({"prefix": rotated["prefix"]}, {"$set": {"digest": 7}})
    assert site.request("GET", here).status_code == 500
    ApiKey.collection().update_one({"prefix": rotated["prefix"]}, {"$set": {"digest": digest}})

    # -- what others can read
    assert ann.request("DELETE", f"{here}/api-keys/{rotated['id']}").status_code == 204
    assert site.request("GET", here).status_code == 401
    for path in ("/audit", "/api-keys", "/webhooks", "/invitations", "/members", "/usage", ""):
        assert ann.request("GET", here + path).status_code == 200
    for path in ("/health", "/ready", "/status", "/metrics", "/api/schema", "/api/llm/providers"):
        client.request("GET", path)
    _open_all_console_pages(client)
    _add_database(client.search)


def _open_all_console_pages(client: RecordingClient) -> None:
    password = client.search.secrets["staff password"]
    User.objects.create_superuser("staff@example.com", password)
    browser = requests.Session()
    login = f"{client.url}{reverse('admin:login')}"
    browser.get(login, timeout=30)
    form = {"username": password, "password": password}  # entered in the wrong field
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
        page = browser.get(client.url + path, timeout=30)
        assert page.status_code == 200, path
        client.search.texts[f"console {path}"] = page.text


def _add_database(search: SecretSearch) -> None:
    database = connection.database
    for name in database.list_collection_names():
        rows = list(database[name].find())
        search.texts[f"collection {name}"] = "\n".join(map(str, rows))


def _use_without_database(client: RecordingClient) -> None:
    known = client.search.secrets
    credentials = {"email": "ann@example.com", "password": known["new password"]}
    assert client.request("POST", "/api/auth/login", credentials).status_code == 503
    ann = client.with_token(known["first access token"])
    assert ann.request("GET", "/api/auth/profile").status_code == 503
    site = RecordingClient(client.url, client.search, client.mail_folder, {"X-API-Key": known["key"]})
    assert site.request("POST", "/api/chat", {"message": "Hello"}).status_code == 503


def test_no_secret_is_left_anywhere(search):
    _check_that_all_features_were_used(search)
    assert search.leaks() == []


def _check_that_all_features_were_used(search: SecretSearch) -> None:
    log = search.texts["log"]
    assert "Traceback" in log
    assert "unhandled exception" in log
    assert "database unreachable" in log
    assert log.count("/v1/chat/completions") >= 2 * len(FAULTS)
    trail = search.texts["collection tenants_auditevent"]
    for refused in ("api_key.refused", "user.login_failed", "user.password_change_refused"):
        assert refused in trail, refused
    for part in ("console /admin/tenants/apikey/", "collection tenants_webhook", "GET /metrics 200"):
        assert any(part in place for place in search.texts), part
    assert len(search.secrets) >= 20


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
def test_a_secret_is_found_in_every_encoding(secret, text):
    assert SecretSearch({"it": secret}, {"there": text}).leaks() == ["it in there"]


def test_no_object_shows_its_secret(acme, alice):
    issued = issue(acme, alice)
    rotated = issued.key.rotate(overlap=issued.key.updated_at - issued.key.created_at, by=by(alice))
    invited = Invitation.objects.send(acme, email="eve@example.com", role="viewer", by=by(alice))
    registered = Webhook.objects.register(
        acme, by=by(alice), url="https://x.example/", events=["api_key.issued"]
    )
    for holder, secret in (
        (issued, issued.secret),
        (rotated, rotated.secret),
        (invited, invited.token),
        (registered, registered.secret),
        (registered.webhook, registered.secret),
        (issued.key, issued.secret),
    ):
        assert secret not in repr(holder)
        assert secret not in str(holder)
        assert secret not in str(vars(holder) if hasattr(holder, "__dict__") else "")
