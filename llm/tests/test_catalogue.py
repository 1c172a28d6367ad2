"""Known models, and the cost of their tokens on a given day."""

import datetime
import json
from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured

from llm.canonical import Target, Usage
from llm.catalogue import catalogue

GPT_OSS = Target("groq", "openai/gpt-oss-120b")
MILLION = Usage(input=1_000_000, output=1_000_000)


@pytest.fixture
def operators_file(tmp_path, settings):
    """Return a function that writes the operator's catalogue."""

    def write(document) -> None:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        settings.LLM_CATALOGUE = str(path)

    return write


def test_entry_has_windows_and_capabilities():
    model = catalogue().get(GPT_OSS)
    assert model.context_window == 131_072
    assert model.max_output == 65_536
    assert model.tools is True
    assert catalogue().get(Target("gemini", "gemini-3.5-flash-lite")).assistant_prefix is False


def test_cost_is_exact_to_the_last_digit():
    cost = catalogue().cost(GPT_OSS, Usage(input=1, output=1))
    assert cost == (Decimal("0.00000075"), "priced")


def test_future_price_takes_effect_on_its_day():
    argon = Target("gemini", "gemini-4-argon")
    cost_on = {
        day: catalogue().cost(argon, MILLION, on=datetime.date.fromisoformat(day))
        for day in ("2026-11-30", "2026-12-01")
    }
    assert cost_on == {"2026-11-30": (Decimal(12), "priced"), "2026-12-01": (Decimal(24), "priced")}


def test_price_rises_above_its_tier():
    luna = Target("openrouter", "openai/gpt-6-luna")
    below, _ = catalogue().cost(luna, Usage(input=272_000, output=1_000_000))
    above, _ = catalogue().cost(luna, Usage(input=272_001, output=1_000_000))
    assert below == Decimal("0.0272") + Decimal("0.50")
    assert above == Decimal("0.0544002") + Decimal("0.75")


def test_unknown_model_is_unpriced_not_free():
    assert catalogue().cost(Target("groq", "brand-new"), MILLION) == (None, "unpriced")


def test_model_without_a_price_in_effect_is_unpriced():
    assert catalogue().cost(Target("groq", "llama-3.1-8b-instant"), MILLION) == (None, "unpriced")


def test_estimated_tokens_make_an_estimated_cost():
    usage = Usage(input=1_000_000, estimated=True)
    assert catalogue().cost(GPT_OSS, usage) == (Decimal("0.15"), "estimated")


def test_cost_reported_by_the_provider_takes_precedence():
    usage = Usage(input=10, output=10, cost=Decimal("0.123"))
    assert catalogue().cost(GPT_OSS, usage) == (Decimal("0.123"), "reported")
    assert catalogue().cost(Target("openrouter", "brand-new"), usage) == (Decimal("0.123"), "reported")


@pytest.mark.parametrize("reported", ["-0.01", "NaN", "Infinity", "1000000"])
def test_implausible_cost_is_ignored(reported):
    usage = Usage(input=1_000_000, cost=Decimal(reported))
    assert catalogue().cost(GPT_OSS, usage) == (Decimal("0.15"), "priced")


def test_model_is_retired_from_that_day_on():
    model = catalogue().get(Target("gemini", "gemini-2.5-pro"))
    assert not model.retired(datetime.date(2026, 11, 30))
    assert model.retired(datetime.date(2026, 12, 1))


def test_operator_adds_a_model(operators_file):
    operators_file(
        {
            "models": [
                {"provider": "openai_compatible", "id": "mine", "prices": [{"input": "1", "output": "2"}]}
            ]
        }
    )
    assert catalogue().cost(Target("openai_compatible", "mine"), MILLION) == (Decimal(3), "priced")
    assert catalogue().get(GPT_OSS).context_window == 131_072


def test_operator_overrides_single_fields(operators_file):
    operators_file({"models": [{"provider": "groq", "id": GPT_OSS.model, "assistant_prefix": True}]})
    model = catalogue().get(GPT_OSS)
    assert model.assistant_prefix is True
    assert model.context_window == 131_072


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"id": "x"}, "models[0].provider must be a text"),
        ({"provider": "groq"}, "models[0].id must be a text"),
        ({"provider": "groq", "id": "x", "windw": 1}, "models[0].windw is not a known field"),
        (
            {"provider": "groq", "id": "x", "context_window": "8k"},
            "models[0].context_window must be a number",
        ),
        (
            {"provider": "groq", "id": "x", "context_window": True},
            "models[0].context_window must be a number",
        ),
        ({"provider": "groq", "id": "x", "tools": "yes"}, "models[0].tools must be true, false or null"),
        ({"provider": "groq", "id": "x", "retires": "soon"}, "models[0].retires must be a day"),
        ({"provider": "groq", "id": "x", "prices": {}}, "models[0].prices must be a list"),
        ({"provider": "groq", "id": "x", "prices": [{"input": 0.15}]}, "prices[0].input must be USD"),
        ({"provider": "groq", "id": "x", "prices": [{"input": "-1", "output": "1"}]}, "prices[0].input must"),
        ({"provider": "groq", "id": "x", "prices": [{"input": "1"}]}, "prices[0].output must be USD"),
        (
            {"provider": "groq", "id": "x", "prices": [{"input": "1", "output": "1", "form": "2026-01-01"}]},
            "prices[0].form is not a known field",
        ),
        (
            {
                "provider": "groq",
                "id": "x",
                "prices": [{"input": "1", "output": "1", "above_input_tokens": {"many": {}}}],
            },
            "above_input_tokens.many must be named by a number",
        ),
        ("groq/x", "models[0] must be an object"),
    ],
)
def test_error_names_the_place_in_the_operators_file(operators_file, entry, complaint):
    operators_file({"models": [entry]})
    with pytest.raises(ImproperlyConfigured) as caught:
        catalogue()
    assert complaint in str(caught.value)


@pytest.mark.parametrize("document", ["{", "[]", '{"models": 1}'])
def test_invalid_file_is_refused(operators_file, document):
    operators_file(document)
    with pytest.raises(ImproperlyConfigured, match="Catalogue /"):
        catalogue()


def test_missing_file_is_refused(settings):
    settings.LLM_CATALOGUE = "/nonexistent/catalogue.json"
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        catalogue()
