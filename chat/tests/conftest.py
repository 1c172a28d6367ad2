"""A real server and OpenAI's own client for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from accounts.models import User
from qa.fake_provider.server import BASE_PATHS, FakeProvider
from qa.testing.chat import settled_usage
from qa.testing.server import RunningServer
from qa.testing.tenants import issue
from tenants.models import Tenant

if TYPE_CHECKING:
    from openai import OpenAI


@pytest.fixture(scope="session")
def openai_server(
    database_uri: str, fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Return a server as production runs it, with two workers, that never opens a circuit breaker.

    All of its providers are the fake one.
    """
    variables = {
        "DJANGO_ENV": "production",
        "ALLOWED_HOSTS": "127.0.0.1",
        "WORKERS": "2",
        "LLM_ROUTE": "groq,openrouter",
        "LLM_BREAKER_FAILURES": "100000",
    }
    for name in BASE_PATHS:
        variables[f"{name.upper()}_BASE_URL"] = fake_server.base_url(name)
        variables[f"{name.upper()}_MODEL"] = f"{name}-model"
    for name in ("GROQ", "GEMINI", "OPENROUTER"):
        variables[f"{name}_API_KEY"] = "test-key"
    with RunningServer(database_uri, tmp_path_factory.mktemp("server"), **variables) as server:
        yield server


@pytest.fixture
def openai_key(acme: Tenant, alice: User) -> str:
    return issue(acme, alice, scopes=["messages:send"]).secret


@pytest.fixture
def openai_client(
    openai_server: RunningServer, fake: FakeProvider, acme: Tenant, openai_key: str
) -> Iterator[OpenAI]:
    """Return the official client with a key of Acme, without retries."""
    from openai import OpenAI  # Its import takes a third of a second, and few tests of this folder use it.

    with OpenAI(base_url=f"{openai_server.url}/v1", api_key=openai_key, max_retries=0) as client:
        yield client
    settled_usage(acme)
