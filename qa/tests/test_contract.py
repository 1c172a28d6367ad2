"""The API answers what its own description says it answers, whatever is sent and whoever sends it.

Requests are made from `/api/schema` itself, half of them valid and half of them spoiled; the answers
are held against it: status, content type, headers, body. 500 is described nowhere, so it never passes.
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

#: Requests to each operation from each caller.
EXAMPLES = 10

Headers = Callable[[], dict[str, str]]


@pytest.fixture
def schema(db) -> BaseSchema:
    # Credentials are ours to choose: invented ones would all be refused at the door.
    generation = GenerationConfig(with_security_parameters=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application(), config=config)


@pytest.fixture
def callers(alice, acme, settings) -> dict[str, Headers]:
    """Name -> the headers of that caller's next request."""
    settings.RATES = dict.fromkeys(settings.RATES, "1000000/m")
    secret = issue(limited(acme), alice, scopes=list(Scope.values)).secret

    def signed_in() -> dict[str, str]:
        # A session of its own for each request: some of them end all there are.
        return {"Authorization": f"Bearer {AccessToken.of_session(alice.pk, uuid.uuid4().hex)}"}

    return {"admin": signed_in, "secret key": lambda: {"X-API-Key": secret}, "nobody": dict}


@pytest.fixture
def known_ids(acme, alice, dave, session, site) -> dict[str, str]:
    """A real value for each parameter of a path."""
    sent = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"})
    sent_invitation = Invitation.objects.send(acme, email="eve@example.com", role="viewer", by=by(alice))
    url = "https://hooks.example.com/"
    hook = Webhook.objects.register(acme, by=by(alice), url=url, events=["api_key.revoked"])
    return {
        "tenant_id": str(acme.pk),
        "user_id": str(dave.pk),
        "invitation_id": str(sent_invitation.invitation.pk),
        "key_id": str(issue(acme, alice).key.pk),
        "webhook_id": str(hook.webhook.pk),
        "session_id": str(session.pk),
        "message_id": sent.json()["reply"]["id"],
        "name": "groq/groq-model",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does
@pytest.mark.parametrize("caller", ["admin", "secret key", "nobody"])
def test_every_answer_is_described(schema, fake: FakeProvider, callers, known_ids, caller, caplog):
    caplog.set_level(logging.ERROR, "core.requests")
    operations = [result.ok() for result in schema.get_all_operations()]
    # Deleted last, the inner before the outer: others need it.
    operations.sort(key=lambda operation: (operation.method == "delete", -len(operation.path)))
    assert len(operations) > 30

    problems = [
        problem for operation in operations if (problem := violation(operation, known_ids, callers[caller]))
    ]

    assert not problems, "\n\n".join(problems)


def violation(operation: APIOperation, known_ids: dict[str, str], headers: Headers) -> str | None:
    """Return how an answer of `operation` differs from its description; None if none does."""
    mine = {name: known_ids[name] for name in known_ids if f"{{{name}}}" in operation.path}
    requests = [operation.as_strategy(path_parameters=mine)]
    if operation.body or operation.query:
        requests += [*requests, operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=mine)]
    if mine:
        requests += [operation.as_strategy()]  # ids of nothing

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(requests))
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers(), checks=CHECKS)

    try:
        holds()
    except FailureGroup as error:
        return f"{operation.label}: {error}"
    return None
