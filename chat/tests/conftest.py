"""Acme's people and keys, talking to an assistant played by the fake provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from chat.tests.clients import FINAL, STUCK_SECONDS
from chat.tests.server import RunningServer
from chat.turns import heartbeat, settlement
from config.launch.tests.conftest import wait_until
from qa.fake_provider.server import BASE_PATHS, FakeProvider
from tenants.models import Tenant, Usage
from tenants.tests.conftest import *  # noqa: F403 - the same cast
from tenants.tests.conftest import issue, signed_in, with_key


@pytest.fixture(scope="session")
def fake_server() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture
def fake(fake_server: FakeProvider, settings, db) -> Iterator[FakeProvider]:
    """The fake provider, without scripts, configured as Groq and OpenRouter; Groq comes first.

    Turns that a test leaves running are stopped and waited for: they need the test's database.
    """
    fake_server.reset()
    settings.LLM_ROUTE = ["groq", "openrouter"]
    settings.LLM_BREAKER_FAILURES = 1000  # circuits outlive a test; those of routing have their own tests
    settings.LLM_PROVIDERS = {
        name: {
            "api_key": "test-key-of-nobody" if name in ("groq", "openrouter") else "",
            "base_url": fake_server.base_url(name),
            "model": f"{name}-model",
        }
        for name in settings.LLM_PROVIDERS
    }
    yield fake_server
    for turn in heartbeat.turns():
        turn.cancel()
    wait_until(lambda: not heartbeat.turns(), "the turns end")
    settlement.finish(STUCK_SECONDS)


@pytest.fixture
def dave_client(dave) -> APIClient:
    return signed_in(dave)


@pytest.fixture
def site(acme, alice) -> APIClient:
    """Acme's server: a secret key with every scope."""
    scopes = ["sessions:read", "sessions:write", "messages:send", "analytics:read", "usage:read"]
    return with_key(issue(acme, alice, scopes=scopes).secret)


@pytest.fixture
def session(acme: Tenant, dave) -> ChatSession:
    return ChatSession.objects.create(tenant=acme, user=dave)


def settled(reply_id: str) -> Message:
    """Return the reply once ledger, quota and session counters have followed it."""
    reply = Message.objects.get(pk=reply_id)
    settlement.settle([Message.collection().find_one({"_id": reply.pk})])
    return Message.objects.get(pk=reply_id)


def events(response) -> list[tuple[str, str, dict]]:
    """Return (name, id, data) of every event of a streamed answer."""
    import json

    found = []
    for block in b"".join(response.streaming_content).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
        if fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    assert not FINAL & {name for name, _, _ in found[:-1]}, "an event came after the end"
    return found


# -- OpenAI's clients, against a real server ------------------------------------------


@pytest.fixture(scope="session")
def openai_server(database_uri: str, fake_server: FakeProvider, tmp_path_factory) -> Iterator[RunningServer]:
    """A server whose providers are all played by the fake one; its circuit breakers never open."""
    variables = {"LLM_ROUTE": "groq,openrouter", "LLM_BREAKER_FAILURES": "100000"}
    for name in BASE_PATHS:
        variables[f"{name.upper()}_BASE_URL"] = fake_server.base_url(name)
        variables[f"{name.upper()}_MODEL"] = f"{name}-model"
    for name in ("GROQ", "GEMINI", "OPENROUTER"):
        variables[f"{name}_API_KEY"] = "test-key-of-nobody"
    with RunningServer(database_uri, tmp_path_factory.mktemp("server"), **variables) as server:
        yield server


@pytest.fixture
def openai_key(acme, alice) -> str:
    return issue(acme, alice, scopes=["messages:send"]).secret


@pytest.fixture
def openai_client(openai_server: RunningServer, fake: FakeProvider, acme, openai_key) -> Iterator[OpenAI]:
    """The official client with a key of Acme; it shows each failure at once."""
    with OpenAI(base_url=f"{openai_server.url}/v1", api_key=openai_key, max_retries=0) as client:
        yield client
    settled_usage(acme)


def settled_usage(tenant: Tenant) -> Usage:
    """Return the tenant's usage once no run of it is open any more."""
    wait_until(lambda: Usage.objects.of(tenant).live == 0, "every run is settled")
    return Usage.objects.of(tenant)
