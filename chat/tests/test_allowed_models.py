"""The models that a key may use."""

from __future__ import annotations

import pytest

from qa.testing.tenants import issue, problem, with_key

ROUTES = {
    "a provider is its default model": (["groq"], ["groq"], 201),
    "and the default model by name": (["groq"], ["groq/groq-model"], 201),
    "but no other model of the provider": (["groq"], ["groq/another"], 403),
    "nor another provider": (["groq"], ["groq", "openrouter"], 403),
    "a model by name is the default of its provider": (["groq/groq-model"], ["groq"], 201),
    "one without a default model is none": (["gemini", "groq"], ["groq"], 201),
}


@pytest.mark.parametrize("case", ROUTES)
def test_a_key_with_allowed_models(fake, acme, alice, session, case):
    allowed, route, status = ROUTES[case]
    acme.change(alice.as_actor(), route=route)
    site = with_key(issue(acme, alice, scopes=["messages:send"], allowed_models=allowed).secret)

    response = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"})

    assert response.status_code == status, response.content
    if status == 403:
        assert problem(response, 403) == "model_not_allowed"


def test_the_list_of_models_names_those_of_an_allowed_provider(fake, acme, alice):
    site = with_key(issue(acme, alice, scopes=["messages:send"], allowed_models=["groq"]).secret)

    names = [model["id"] for model in site.get("/v1/models").json()["data"]]

    assert "groq/groq-model" in names
    assert not [name for name in names if name.startswith("openrouter")]
