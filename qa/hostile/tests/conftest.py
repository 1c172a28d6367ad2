"""The product as production runs it, with two workers, for all attacks of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.models import User
from qa.bench.environment import fake_provider
from qa.hostile.attacks import Caller
from qa.isolation.fixtures import matrix
from qa.testing.server import RunningServer
from qa.testing.tenants import by, issue
from tenants.models import Plan, Tenant

__all__ = ["attacker", "matrix", "product", "tenant_of", "victim"]


@pytest.fixture(scope="session")
def product(database_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two workers in production settings on the tests' database; Groq is the fake provider."""
    with fake_provider() as groq:
        yield from _product(database_uri, tmp_path_factory.mktemp("product"), groq)


def _product(database_uri: str, folder: Path, groq: str) -> Iterator[RunningServer]:
    variables = {
        "DJANGO_ENV": "production",
        "ALLOWED_HOSTS": "127.0.0.1",
        "WORKERS": "2",
        "THREADS": "16",
        "LLM_ROUTE": "groq",
        "GROQ_BASE_URL": groq,
        "GROQ_API_KEY": "test-key",
    }
    with RunningServer(database_uri, folder, **variables) as server:
        yield server


def tenant_of(user: User, plan: str) -> Caller:
    """Return a new tenant of `user`, with a secret key."""
    tenant = Tenant.objects.create_with_admin(
        name=plan.title(), plan=Plan.objects.get(code=plan), by=by(user)
    )
    scopes = ["messages:send", "sessions:read", "sessions:write", "analytics:read"]
    return Caller(issue(tenant, user, scopes=scopes).secret, str(tenant.pk))


@pytest.fixture
def victim(product: RunningServer, alice: User) -> Caller:
    """A tenant that has done nothing wrong."""
    return tenant_of(alice, "enterprise")


@pytest.fixture
def attacker(product: RunningServer, mallory: User) -> Caller:
    """A tenant of the free plan."""
    return tenant_of(mallory, "free")


@pytest.fixture
def large_attacker(product: RunningServer, mallory: User) -> Caller:
    """A tenant of the plan with the highest limits."""
    return tenant_of(mallory, "enterprise")
