"""Routes: the targets that names stand for, and the default."""

import pytest

from llm import providers
from llm.canonical import Target
from llm.route import default_route, parse_route


def test_route_names_providers_and_models(settings):
    assert parse_route(["groq", " openrouter/google/gemini-3.8-flash "]) == (
        Target("groq", settings.LLM_PROVIDERS["groq"]["model"]),
        Target("openrouter", "google/gemini-3.8-flash"),
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one"),
        (["grok"], "no provider 'grok'.*known are groq, gemini"),
        (["groq/"], "groq has no default model"),
        (["groq/a\nb"], "printable"),
        (["groq/" + "x" * 201], "at most 200"),
    ],
)
def test_invalid_route_is_refused_with_a_message(names, message):
    with pytest.raises(ValueError, match=message):
        parse_route(names)


@pytest.fixture
def configured(settings):
    """Return a function that gives keys and base URLs to the named providers, and to no others."""

    def configure(*names):
        settings.LLM_ROUTE = []
        settings.LLM_PROVIDERS = {
            name: {
                "api_key": "key" if name in names else "",
                "base_url": "http://127.0.0.1:9" if name in names else "",
                "model": f"{name}-model",
            }
            for name in providers.PROVIDERS
        }

    return configure


def test_default_route_is_every_configured_provider_in_order(configured):
    configured("local", "openrouter", "groq")
    assert [str(target) for target in default_route()] == ["groq/groq-model", "openrouter/openrouter-model"]


def test_local_model_is_the_default_only_if_nothing_else_is_configured(configured):
    configured("local")
    assert default_route() == (Target("local", "local-model"),)


def test_local_model_is_a_fallback_if_named(configured, settings):
    configured("local", "groq")
    settings.LLM_ROUTE = ["groq", "local"]
    assert [target.provider for target in default_route()] == ["groq", "local"]


def test_default_route_is_empty_if_nothing_is_configured(configured):
    configured()
    assert default_route() == ()
