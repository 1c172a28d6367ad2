"""The product as it is served in production, by two workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer


@pytest.fixture(scope="session")
def product(
    database_uri: str, fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Two workers with production's settings on the tests' database; the fake provider plays Groq."""
    variables = {
        "DJANGO_ENV": "production",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "EMAIL_URL": "dummymail://",
        "WORKERS": "2",
        "LLM_ROUTE": "groq",
        "GROQ_API_KEY": "test-key",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "GROQ_MODEL": "groq-model",
    }
    with RunningServer(database_uri, tmp_path_factory.mktemp("product"), **variables) as server:
        yield server
