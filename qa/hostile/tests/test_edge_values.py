"""Numbers and dates at their edges: stored and readable everywhere, or a 4xx that names the field."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from qa.hostile.edge_values import MOMENTS, NUMBERS, ZONES, EdgeField, body_fields
from qa.testing.tenants import issue, limited, signed_in, with_key
from tenants.models import Tenant

#: A valid body of each operation with such fields.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/api/chat/sessions"): {},
    ("patch", "/api/chat/sessions/{session_id}"): {},
    ("post", "/api/chat/sessions/{session_id}/messages"): {"message": "Hi"},
    ("post", "/api/tenants"): {"name": "Edge"},
    ("patch", "/api/tenants/{tenant_id}"): {},
    ("post", "/api/tenants/{tenant_id}/api-keys"): {"name": "Edge"},
    ("post", "/api/tenants/{tenant_id}/api-keys/{key_id}/rotate"): {},
    ("post", "/v1/chat/completions"): {"model": "default", "messages": [{"role": "user", "content": "Hi"}]},
}

TENANT = "tenants/{tenant_id}"

#: Filters that take a date or a number: path, parameter, values.
QUERIES = (
    *(
        (path, name, MOMENTS)
        for path in (
            "chat/tenants/{tenant_id}/sessions",
            "chat/tenants/{tenant_id}/messages",
            "tenants/{tenant_id}/audit",
        )
        for name in ("created_after", "created_before")
    ),
    ("chat/tenants/{tenant_id}/analytics", "from", MOMENTS),
    ("chat/tenants/{tenant_id}/analytics", "to", MOMENTS),
    ("chat/tenants/{tenant_id}/analytics", "tz", ZONES),
    ("chat/tenants/{tenant_id}/sessions", "page_size", NUMBERS),
    ("chat/sessions/{session_id}/messages", "page_size", NUMBERS),
    ("tenants/{tenant_id}/api-keys", "page_size", NUMBERS),
)
TENANT_SESSIONS = f"chat/{TENANT}/sessions"
SESSION_MESSAGES = "chat/sessions/{session_id}/messages?ordering=seq"
LISTS = (
    "auth/sessions",
    "tenants",
    "tenants/{tenant_id}/api-keys",
    "tenants/{tenant_id}/audit",
    "tenants/{tenant_id}/webhooks",
    f"chat/{TENANT}/messages",
    TENANT_SESSIONS,
    SESSION_MESSAGES,
)


@pytest.fixture
def ids(acme: Tenant, alice, session, settings) -> dict[str, str]:
    settings.RATES = dict.fromkeys(settings.RATES, "1000000/m")
    limited(acme)
    return {
        "tenant_id": str(acme.pk),
        "session_id": str(session.pk),
        "key_id": str(issue(acme, alice).key.pk),
    }


@pytest.fixture
def admin(alice, acme) -> APIClient:
    """Alice, who is staff as well."""
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    alice.refresh_from_db()
    return signed_in(alice)


@pytest.fixture
def server(acme, alice) -> APIClient:
    return with_key(issue(acme, alice, scopes=["messages:send"]).secret)


def strictly(content: bytes) -> Any:
    """Parse JSON that holds neither NaN nor infinity, which other languages can't read."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in an answer")

    return json.loads(content, parse_constant=refuse)


def body_with(field: EdgeField, literal: str, tenant_id: str) -> bytes:
    body = json.loads(json.dumps(BODIES[field.method, field.path]))
    if field.path == "/api/chat/sessions":
        body["tenant_id"] = tenant_id
    inner = body
    for name in field.names[:-1]:
        inner = inner.setdefault(name, {})
    inner[field.names[-1]] = "PLACEHOLDER"
    return json.dumps(body).replace('"PLACEHOLDER"', literal).encode()


def fields_at_fault(response: Any) -> list[str]:
    problem = response.json()
    if "error" in problem:  # OpenAI's format
        return [str(problem["error"]["param"] or problem["error"]["code"])]
    return [str(error["field"]) for error in problem["errors"]] or [problem["code"]]


def problems_of(field: EdgeField, client: APIClient, ids: dict[str, str]) -> Iterator[str]:
    path = field.path.format(**ids)
    for literal in dict.fromkeys(field.literals()):
        body = body_with(field, literal, ids["tenant_id"])
        response = client.generic(field.method.upper(), path, body, "application/json")
        case = f"{field.method} {field.path} {field.name}={literal[:50]}: {response.status_code}"
        if response.status_code >= 500 or response.status_code in (401, 403, 404):
            yield case
        elif response.status_code == 400:
            named = fields_at_fault(response)
            if not any(name == "parse_error" or name.startswith(field.name) for name in named):
                yield f"{case} names {named}"
        elif response.status_code < 300:
            yield from (f"{case}, then {problem}" for problem in unreadable(response, path, client))


def unreadable(response: Any, path: str, client: APIClient) -> Iterator[str]:
    """Read what was stored once more."""
    location = response.get("Location") or (path if "sessions/" in path or "tenants/" in path else "")
    if not response.streaming:
        strictly(response.content)
    if location and not path.startswith("/v1") and not location.endswith("/rotate"):
        again = client.get(location)
        if again.status_code not in (200, 405):
            yield f"GET {location}: {again.status_code}"
        strictly(again.content)


def test_every_number_and_date_field_has_a_valid_body():
    assert {(field.method, field.path) for field in body_fields()} <= set(BODIES)


def test_bodies_at_the_edges(fake, ids, admin, server):
    problems = []
    for field in body_fields():
        client = server if field.path.startswith("/v1") else admin
        problems += list(problems_of(field, client, ids))
    problems += list(problems_of_reading(admin, server, ids))
    assert not problems, "\n".join(problems)


def problems_of_reading(admin: APIClient, server: APIClient, ids: dict[str, str]) -> Iterator[str]:
    """Read everything through lists, exports and the console."""
    paths = [f"/api/{path.format(**ids)}" for path in LISTS]
    session = f"/api/chat/sessions/{ids['session_id']}"
    paths += [f"{session}/export", f"{session}/export?format=markdown"]
    for path in paths:
        response = admin.get(path)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        if response.status_code != 200:
            yield f"GET {path}: {response.status_code}"
        elif "markdown" not in path:
            strictly(content)
    console = Client()
    console.force_login(admin_user(ids))
    for page in ("tenants/tenant", "tenants/apikey", "chat/chatsession", "audit/auditevent"):
        status = console.get(f"/admin/{page}/").status_code
        if status != 200:
            yield f"GET /admin/{page}/: {status}"
    for page in (f"tenants/tenant/{ids['tenant_id']}", f"chat/chatsession/{ids['session_id']}"):
        status = console.get(f"/admin/{page}/change/").status_code
        if status != 200:
            yield f"GET /admin/{page}/change/: {status}"


def admin_user(ids: dict[str, str]) -> Any:
    return Tenant.objects.get(pk=ids["tenant_id"]).memberships.get(role="admin").user


def test_queries_at_the_edges(ids, admin):
    problems = []
    for path, name, values in QUERIES:
        for value in values:
            url = f"/api/{path.format(**ids)}?{urlencode({name: value[:2000]})}"
            response = admin.get(url)
            case = f"{path}?{name}={value[:40]}: {response.status_code}"
            if response.status_code not in (200, 400):
                problems.append(case)
            elif response.status_code == 400 and name not in fields_at_fault(response):
                problems.append(f"{case} names {fields_at_fault(response)}")
    assert not problems, "\n".join(problems)


def test_cursors_at_the_edges(ids, admin):
    positions = [*MOMENTS, *NUMBERS, "", "a", "\x00", "\ud7ff", "$gt", '{"$gt": ""}']
    cursors = [urlencode({"p": position[:2000]}) for position in positions]
    cursors += [f"{direction}=1&p={quote(position)}" for direction in ("r", "o") for position in MOMENTS]
    cursors += [f"o={number}" for number in NUMBERS] + ["r=2", "x=1", "p=1&p=2"]
    encoded = [base64.b64encode(cursor.encode()).decode() for cursor in cursors]
    encoded += ["", "=", "a", "é", "\x00", "A" * 5000, "%00", base64.b64encode(b"\xff\xfe").decode()]
    problems = []
    for path in (TENANT_SESSIONS, SESSION_MESSAGES, f"{TENANT}/audit"):  # by time, by number, newest first
        separator = "&" if "?" in path else "?"
        for cursor in encoded:
            url = f"/api/{path.format(**ids)}{separator}{urlencode({'cursor': cursor})}"
            response = admin.get(url)
            if response.status_code not in (200, 400):
                problems.append(f"{path} {cursor[:60]}: {response.status_code}")
    assert not problems, "\n".join(problems)
