"""The API conforms to its OpenAPI schema, for any request by any caller.

Requests are generated from `/api/schema`, half of them valid and half of them invalid; the answers are
checked against it: status, content type, headers, body. No operation documents a 500, so it never passes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.tokens import AccessToken
from qa.fake_provider.server import FakeProvider
from qa.testing.tenants import by, issue, limited
from tenants.models import Invitation, Webhook
from tenants.models.api_key import Scope

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]

Headers = Callable[[], dict[str, str]]


@pytest.fixture
def schema(db) -> BaseSchema:
    # The tests set the credentials: generated ones would all be refused.
    generation = GenerationConfig(with_security_parameters=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application(), config=config)


@pytest.fixture
def callers(alice, acme, settings) -> dict[str, Headers]:
    """Name -> a function that returns the headers of that caller's next request."""
    settings.RATES = dict.fromkeys(settings.RATES, "1000000/m")
    secret = issue(limited(acme), alice, scopes=list(Scope.values)).secret

    def signed_in() -> dict[str, str]:
        # A new login session for each request: some requests end all sessions.
        return {"Authorization": f"Bearer {AccessToken.of_session(alice.pk, uuid.uuid4().hex)}"}

    return {"admin": signed_in, "secret key": lambda: {"X-API-Key": secret}, "anonymous": dict}


@pytest.fixture
def known_ids(acme, alice, dave, session, site) -> dict[str, str]:
    """A real value for each parameter of a path."""
    sent = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"})
    sent_invitation = Invitation.objects.send(acme, email="eve@example.com", role="viewer", by=by(alice))
    url = "https://hooks.example.com/"
    registered = Webhook.objects.register(acme, by=by(alice), url=url, events=["api_key.revoked"])
    return {
        "tenant_id": str(acme.pk),
        "user_id": str(dave.pk),
        "invitation_id": str(sent_invitation.invitation.pk),
        "key_id": str(issue(acme, alice).key.pk),
        "webhook_id": str(registered.webhook.pk),
        "session_id": str(session.pk),
        "message_id": sent.json()["reply"]["id"],
        "name": "groq/groq-model",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does
@pytest.mark.parametrize("caller", ["admin", "secret key", "anonymous"])
@pytest.mark.parametrize(
    "examples", [4, pytest.param(40, marks=[pytest.mark.proof, pytest.mark.timeout(600)])]
)
def test_every_answer_conforms_to_the_schema(
    schema, fake: FakeProvider, callers, known_ids, caller, examples, caplog
):
    """`examples` is the number of requests to each operation."""
    caplog.set_level(logging.ERROR, "core.requests")
    operations = [result.ok() for result in schema.get_all_operations()]
    # Deletions last, inner objects first: the other operations need them.
    operations.sort(key=lambda operation: (operation.method == "delete", -len(operation.path)))
    assert len(operations) > 30

    problems = [
        problem
        for operation in operations
        if (problem := violation(operation, known_ids, callers[caller], examples))
    ]

    assert not problems, "\n\n".join(problems)


def violation(
    operation: APIOperation, known_ids: dict[str, str], headers: Headers, examples: int
) -> str | None:
    """Return how an answer of `operation` violates the schema; None if none does."""
    existing = {name: known_ids[name] for name in known_ids if f"{{{name}}}" in operation.path}
    requests = [operation.as_strategy(path_parameters=existing)]
    if operation.body or operation.query:
        requests += [*requests, operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=existing)]
    if existing:
        requests += [operation.as_strategy()]  # with generated ids

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(requests))
    def conforms(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers(), checks=CHECKS)

    try:
        conforms()
    except FailureGroup as error:
        return f"{operation.label}: {error}"
    return None
