"""`GET /api/llm/providers` and `POST /api/llm/test`."""

import json

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from core.audit.models import AuditEvent
from llm import providers
from qa.testing.llm import KEY

pytestmark = pytest.mark.django_db

PROVIDERS = "/api/llm/providers"
TEST = "/api/llm/test"


def signed_in(**fields) -> APIClient:
    client, users = APIClient(), get_user_model().objects
    client.force_authenticate(
        users.create_user(email="alice@example.com", password="a long password", **fields)
    )
    return client


@pytest.fixture
def alice() -> APIClient:
    """A member of the staff."""
    return signed_in(is_staff=True)


@pytest.fixture(autouse=True)
def groq_at_the_fake(settings, fake):
    settings.LLM_ROUTE = []
    settings.LLM_PROVIDERS = {
        name: {"api_key": "", "base_url": fake.base_url(name), "model": "fake-small"}
        for name in providers.PROVIDERS
    }
    settings.LLM_PROVIDERS["groq"] |= {"api_key": KEY, "model": "fake-large"}
    settings.LLM_PROVIDERS["openai_compatible"]["base_url"] = ""
    settings.LLM_PROVIDERS["local"]["base_url"] = ""


@pytest.mark.parametrize(("method", "path"), [("get", PROVIDERS), ("post", TEST)])
def test_anonymous_callers_are_refused(method, path, fake):
    answer = getattr(APIClient(), method)(path)
    assert answer.status_code == 401
    assert fake.log() == []


def test_providers_are_listed_in_fallback_order(alice):
    body = alice.get(PROVIDERS).json()
    assert [(shown["name"], shown["configured"]) for shown in body["results"]] == [
        ("groq", True),
        ("gemini", False),
        ("openrouter", False),
        ("openai_compatible", False),
        ("local", False),
    ]
    assert body["results"][0]["label"] == "Groq"
    assert body["results"][0]["default_model"] == "fake-large"
    assert body["default_route"] == ["groq/fake-large"]


def test_models_come_with_windows_capabilities_and_prices(alice):
    groq = alice.get(PROVIDERS).json()["results"][0]
    (model,) = [model for model in groq["models"] if model["id"] == "openai/gpt-oss-120b"]
    assert model == {
        "id": "openai/gpt-oss-120b",
        "context_window": 131072,
        "max_output": 65536,
        "tools": True,
        "json_schema": True,
        "vision": False,
        "assistant_prefix": False,
        "reasoning_efforts": ["low", "medium", "high"],
        "price": {"input": "0.15", "cached_input": "0.075", "output": "0.60", "currency": "USD"},
        "retires": None,
    }


def test_neither_keys_nor_urls_are_shown(alice, fake):
    shown = alice.get(PROVIDERS).content.decode()
    assert KEY not in shown
    assert fake.url not in shown


def test_providers_are_tested_without_a_body(alice, fake):
    answer = alice.post(TEST, content_type="application/json")
    assert answer.status_code == 200
    body = answer.json()
    assert body["ok"] is True
    groq, gemini, *_ = body["results"]
    assert groq["ok"] is True
    assert [check["stream"] for check in groq["checks"]] == [False, True]
    assert groq["checks"][1]["first_token_ms"] is not None
    assert (gemini["configured"], gemini["ok"], gemini["checks"]) == (False, None, [])
    assert gemini["problem"] == "Not configured: set GEMINI_API_KEY."
    assert len(fake.log()) == 2


def test_failing_provider_is_a_result_not_an_error(alice, fake):
    fake.script(fault="401")
    answer = alice.post(TEST, {"provider": "groq"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["ok"] is False
    (groq,) = body["results"]
    assert groq["problem"] == "Wrong key: Groq refused GROQ_API_KEY."
    assert KEY not in json.dumps(body)


def test_calls_for_tests_are_for_staff(fake):
    assert signed_in().post(TEST, {"provider": "groq"}).status_code == 403
    assert fake.log() == []


def test_calls_for_tests_are_recorded_with_their_cost_and_who_made_them(alice):
    alice.post(TEST, {"provider": "groq", "model": "openai/gpt-oss-120b"})
    event = AuditEvent.objects.get(action="user.providers_tested")
    assert event.actor_name == "alice@example.com"
    assert event.changes == {
        "groq/openai/gpt-oss-120b": [
            None,
            ["ok: 46 tokens, 0.0000218250 USD", "ok: 46 tokens, 0.0000218250 USD"],
        ]
    }


def test_nothing_configured_is_not_ok(alice, settings):
    settings.LLM_PROVIDERS["groq"]["api_key"] = ""
    assert alice.post(TEST).json()["ok"] is False


def test_model_of_a_provider_is_tested(alice, fake):
    body = alice.post(TEST, {"provider": "groq", "model": "fake-small"}).json()
    assert body["results"][0]["model"] == "fake-small"
    assert {entry.model for entry in fake.log()} == {"fake-small"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "nope"}, "provider"),
        ({"provider": 7}, "provider"),
        ({"model": "fake-small"}, "provider"),
        ({"provider": "groq", "model": ""}, "model"),
        ({"provider": "groq", "model": "x" * 201}, "model"),
        ({"provider": "groq", "model": ["x"]}, "model"),
        ({"providers": ["groq"]}, "providers"),
        ([], "Expected a dictionary"),
    ],
)
def test_invalid_body_is_refused(alice, fake, body, field):
    answer = alice.post(TEST, body)
    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert fake.log() == []


@pytest.mark.usefixtures("one_window")
def test_provider_tests_are_rate_limited(alice, settings):
    settings.RATES = settings.RATES | {"llm.test": "2/m"}
    statuses = [alice.post(TEST, {"provider": "groq"}).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
