"""LangChain's ChatOpenAI works by changing its base URL and key."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from qa.fake_provider.answers import WORDS

ANSWER = f"You said: Hello {WORDS}"


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


class Place(BaseModel):
    city: str
    people: int


@pytest.fixture
def chat(openai_client, openai_key) -> Callable[..., ChatOpenAI]:
    """Return a function that makes LangChain's client of a model: `chat(model, **options)`."""

    def make(model: str = "groq/some-model", **options) -> ChatOpenAI:
        return ChatOpenAI(
            model=model, base_url=str(openai_client.base_url), api_key=openai_key, max_retries=0, **options
        )

    return make


def test_a_question_is_answered(chat):
    answer = chat(temperature=0.2, stop=["never"]).invoke([SystemMessage("Be brief."), HumanMessage("Hello")])

    assert answer.content == ANSWER
    assert answer.response_metadata["model_name"] == "groq/some-model"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] == 46
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 5


def test_a_stream_has_the_answer_and_its_usage(chat):
    chunks = list(chat(stream_usage=True).stream("Hello"))

    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == ANSWER
    assert whole.usage_metadata["total_tokens"] == 46


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter"])
def test_a_tool_is_called_and_its_result_answered(chat, provider):
    model = chat(f"{provider}/some-model").bind_tools([weather])
    question = HumanMessage("Ask weather")
    said = model.invoke([question])

    (call,) = said.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert "sunny in Paris" in model.invoke([question, said, result]).content


def test_calls_in_a_stream_are_collected(chat):
    chunks = list(chat().bind_tools([weather]).stream("Ask weather"))

    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", {"city": "Paris"})]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_parsed(chat, method):
    place = chat().with_structured_output(Place, method=method).invoke("Hello")

    assert place == Place(city="Paris", people=1)


def test_fallbacks_can_be_passed(chat):
    answer = chat("groq/fault-404", extra_body={"fallbacks": ["openrouter/good"]}).invoke("Hello")

    assert answer.response_metadata["model_name"] == "openrouter/good"


@pytest.mark.parametrize(
    ("model", "exception"),
    [
        ("groq/fault-context-length", ContextOverflowError),
        ("groq/fault-404", openai.NotFoundError),
        ("groq/fault-429-wait-42", openai.RateLimitError),
        ("groq/fault-401", openai.InternalServerError),
    ],
)
def test_failures_are_the_exceptions_of_langchain(chat, model, exception):
    with pytest.raises(exception):
        chat(model).invoke("Hello")


def test_a_stream_that_breaks_raises(chat):
    said = []

    with pytest.raises(openai.APIError):
        said.extend(chat("groq/fault-cut-clean").stream("Hello"))
    assert "".join(chunk.content for chunk in said) == "You said: Hello "
