"""`manage.py models`: the catalogue compared with what the providers list now."""

import json
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from llm import providers
from llm.catalogue import catalogue
from llm.management.commands.models import FRESH_DAYS
from llm.policy import Policy
from qa.testing.llm import KEY


@pytest.fixture(autouse=True)
def groq_at_the_fake(settings, fake):
    """Groq is configured with the fake provider's URL, which lists `fake-large` and `fake-small`."""
    settings.LLM_ROUTE = []
    settings.LLM_PROVIDERS = {
        name: {"api_key": "", "base_url": "", "model": "m"} for name in providers.PROVIDERS
    } | {"groq": {"api_key": KEY, "base_url": fake.base_url("groq"), "model": "fake-large"}}


@pytest.fixture
def operators_models(settings, tmp_path):
    def write(*models):
        path = tmp_path / "catalogue.json"
        path.write_text(json.dumps({"models": models}))
        settings.LLM_CATALOGUE = str(path)

    return write


def models(**options):
    """Return (output, warnings) of the command."""
    out, err = StringIO(), StringIO()
    call_command("models", stdout=out, stderr=err, no_color=True, **options)
    return out.getvalue(), err.getvalue()


@time_machine.travel("2026-11-28T12:00:00Z")
def test_table_shows_windows_prices_and_dates():
    out, _ = models(offline=True)
    assert "groq/openai/gpt-oss-120b                      131072    65536  0.15 / 0.60" in out
    assert "2 / 10               4 / 20 from 2026-12-01" in out
    assert "1.25 / 10            retires 2026-12-01" in out
    assert "unpriced             retired 2026-08-16" in out


@time_machine.travel("2026-12-02T12:00:00Z")
def test_price_and_retirement_take_effect_on_their_day():
    out, _ = models(offline=True, provider="gemini")
    argon = "gemini/gemini-4-argon                        1048576    65536  4 / 20"
    assert f"{argon}               cached input 0.2\n" in out
    assert (
        "gemini/gemini-2.5-pro                        1048576    65536  1.25 / 10            retired" in out
    )


@pytest.mark.parametrize(("days", "warned"), [(FRESH_DAYS, False), (FRESH_DAYS + 1, True)])
def test_warns_about_an_old_catalogue(days, warned):
    with time_machine.travel(catalogue().checked + timedelta(days=days)):
        out, warnings = models(offline=True)
    assert f"catalogue of {catalogue().checked}\n" in out
    assert ("The catalogue was checked" in warnings) is warned


def test_warns_about_prices_that_the_provider_lists_otherwise(settings, fake, operators_models):
    """OpenRouter lists its prices; the fake one lists `fake-large` for 1 / 2."""
    settings.LLM_PROVIDERS["openrouter"] = {
        "api_key": KEY,
        "base_url": fake.base_url("openrouter"),
        "model": "fake-large",
    }
    operators_models(
        {"provider": "openrouter", "id": "fake-large", "prices": [{"input": "7", "output": "2"}]},
        {"provider": "openrouter", "id": "fake-small", "prices": []},
    )
    out, warnings = models(provider="openrouter")
    listed = {model.id: model for model in providers.get("openrouter").models(Policy().limits(5))}
    stated = " / ".join(f"{amount.normalize():f}" for amount in listed["fake-large"].prices)
    assert f"openrouter/fake-large costs {stated} now, not 7 / 2." in warnings
    assert "openrouter/fake-small costs" in warnings
    assert "price changed" in out


def test_warns_about_a_retired_model_that_is_still_listed(operators_models):
    operators_models({"provider": "groq", "id": "fake-small", "retires": "2026-01-01"})
    _, warnings = models(provider="groq")
    assert "groq/fake-small was to retire on 2026-01-01, but groq lists it." in warnings


def test_offline_calls_no_provider(fake):
    models(offline=True)
    assert fake.log() == []


def test_warns_about_models_that_the_provider_no_longer_lists(fake):
    out, warnings = models(provider="groq")
    assert "groq/openai/gpt-oss-20b is in the catalogue, but groq does not list it." in warnings
    assert "0.075 / 0.30         not listed" in out
    assert "llama-3.3-70b-versatile" not in warnings  # Retired, so it need not be listed.


def test_warns_about_unlisted_models_of_the_default_route(settings):
    settings.LLM_ROUTE = ["groq/no-longer-here"]
    _, warnings = models(provider="groq")
    assert "groq/no-longer-here is in the default route, but groq does not list it." in warnings


def test_warns_about_retired_models_of_the_default_route(settings):
    settings.LLM_ROUTE = ["groq/llama-3.3-70b-versatile"]
    _, warnings = models(provider="groq", offline=True)
    assert "was retired on 2026-08-16" in warnings


def test_warns_about_changed_windows(operators_models):
    operators_models({"provider": "groq", "id": "fake-small", "context_window": 8192})
    _, warnings = models(provider="groq")
    assert "groq/fake-small has a window of 131072 now, not 8192." in warnings


def test_warns_about_providers_that_do_not_answer(settings):
    settings.LLM_PROVIDERS["groq"]["base_url"] = "http://127.0.0.1:9"
    out, warnings = models(provider="groq")
    assert "groq could not list its models: Groq refused the connection." in warnings
    assert "groq/openai/gpt-oss-120b" in out


def test_json_has_models_and_warnings(operators_models):
    operators_models({"provider": "groq", "id": "fake-large", "prices": [{"input": "1", "output": "2"}]})
    out, _ = models(provider="groq", json=True)
    document = json.loads(out)
    shown = {model["id"]: model for model in document["models"]}
    assert shown["fake-large"]["listed"] is True
    assert shown["fake-large"]["price"] == {"input": "1", "output": "2", "currency": "USD"}
    assert shown["openai/gpt-oss-20b"]["listed"] is False
    assert any("gpt-oss-20b" in warning for warning in document["warnings"])


def test_unreadable_catalogue_stops_the_command(operators_models):
    operators_models({"provider": "groq", "id": "x", "tools": "yes"})
    with pytest.raises(SystemCheckError, match=r"llm\.E001.*models\[0\]\.tools must be true"):
        models(skip_checks=False)


def test_unreadable_route_stops_the_command(settings):
    settings.LLM_ROUTE = ["nope"]
    with pytest.raises(SystemCheckError, match=r"llm\.E002.*no provider 'nope'"):
        models(skip_checks=False)
