"""Self-hosted servers and the local model: requests to them, and what their responses lack."""

import json

import pytest

from llm import errors
from llm.canonical import Message, Request, Usage
from llm.providers import ListedModel
from llm.providers.local import Local
from qa.testing.llm import LIMITS, asking

BOTH = ["openai_compatible", "local"]


@pytest.mark.parametrize("name", BOTH)
def test_server_without_a_key_gets_no_authorization(call, provider, fake, name):
    assert call(of=provider(name, api_key="")).completion
    assert fake.log()[-1].key is None


def test_configured_key_is_sent(call, fake):
    assert call("openai_compatible").completion
    assert fake.log()[-1].key is not None


@pytest.mark.parametrize("name", BOTH)
def test_token_limit_uses_the_old_field_name(call, fake, name):
    completion = call(name, request=asking(max_tokens=3)).completion
    assert fake.log()[-1].body["max_tokens"] == 3
    assert "max_completion_tokens" not in fake.log()[-1].body
    assert (completion.finish, len(completion.text.split())) == ("length", 3)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("stream", [True, False])
def test_server_that_loads_its_model_is_retried_after_a_short_wait(call, name, stream):
    error = call(name, "fault-loading", stream=stream).error
    assert type(error) is errors.Overloaded
    assert error.retry_after_seconds == 1


def test_answer_without_id_model_usage_and_done_is_accepted(answers):
    body = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}
    completion = answers(f"data: {json.dumps(body)}\n\n", name="openai_compatible").completion
    assert (completion.text, completion.usage, completion.response_id) == ("a", Usage(), "")
    assert completion.model_used == "fake-large"


@pytest.mark.parametrize("name", BOTH)
def test_ids_of_models_are_listed(provider, name):
    listed = provider(name).models(LIMITS)
    assert listed == [ListedModel("fake-large"), ListedModel("fake-small")]


@pytest.mark.parametrize("body", [{"data": None}, {"data": [None, {"id": 7}, {}]}, {}, [], 7])
def test_list_of_models_may_be_anything(provider, fake, body):
    fake.script(provider="openai_compatible", raw={"pieces": [json.dumps(body)]})
    assert provider("openai_compatible").models(LIMITS) == []


@pytest.mark.parametrize("body", ["", "<html>", "{"])
def test_list_of_models_that_is_not_json_is_a_bad_reply(provider, fake, body):
    fake.script(provider="openai_compatible", raw={"pieces": [body]})
    with pytest.raises(errors.BadReply):
        provider("openai_compatible").models(LIMITS)


def test_unconfigured_server_names_the_missing_variable(provider):
    local = type(provider("local"))(api_key="", base_url="", model="m")
    assert not local.configured
    with pytest.raises(errors.NotConfigured, match="LOCAL_BASE_URL is not set"):
        local.open(asking(), "m", stream=True, limits=LIMITS)


def test_answers_of_the_local_model_are_limited():
    local = Local(api_key="", base_url="http://127.0.0.1:1/v1", model="small")
    for requested, sent in ((None, 512), (100, 100), (5000, 512)):
        request = Request(messages=(Message("user", "Hi"),), max_tokens=requested)
        assert local.payload(request, "small", True)["max_tokens"] == sent
