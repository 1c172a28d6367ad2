"""Client packages hold their conversations with the served product, each in its own way."""

from __future__ import annotations

import json

import pytest

from qa.fake_provider.answers import WORDS

pytestmark = pytest.mark.clients

CLIENTS = [
    "openai.py",
    "langchain.py",
    "litellm.py",
    "pydantic_ai.py",
    "agents.py",
    "llama_index.py",
    "openai.mjs",
    "langchain.mjs",
    "ai_sdk.mjs",
]
PROVIDERS = ["groq", "gemini", "openrouter", "openai_compatible"]

#: Clients that read no reasoning from chat completions.
WITHOUT_REASONING = {"langchain.py", "langchain.mjs", "llama_index.py"}

ANSWER = f"You said: Hello {WORDS}"
THOUGHTS = "It greets me. "
FINAL = "It is sunny at nine."
STEPS = [
    {"reasoning": "First the weather. ", "tool_calls": [["weather", {"city": "Paris"}]]},
    {"reasoning": "Now the time. ", "text": "A moment. ", "tool_calls": [["clock", {"zone": "CET"}]]},
    {"reasoning": "Done. ", "text": FINAL},
]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_question_is_answered(run, client):
    assert run(client, "plain", "groq/m")["text"] == ANSWER


@pytest.mark.parametrize("client", CLIENTS)
def test_an_answer_is_streamed(run, client):
    answer = run(client, "stream", "groq/tokens-20-every-20ms")

    assert answer["text"] == " ".join(f"word{number}" for number in range(1, 21))
    assert answer["pieces"] > 3


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("scenario", ["tools", "streamed tools"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_thinking_model_calls_tools_in_several_steps(run, fake, client, scenario, provider):
    fake.script(model="steps", answers=STEPS)

    assert run(client, scenario, f"{provider}/steps")["text"].endswith(FINAL)
    first, second, third = (json.dumps(entry.body) for entry in fake.log())
    assert "sunny in Paris" not in first
    assert "sunny in Paris" in second
    assert "nine in CET" in third


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_reasoning_of_a_model_is_shown_and_can_be_sent_back(run, fake, client, provider):
    fake.script(model="thinker", answer={"reasoning": THOUGHTS, "text": "Hello."})
    answer = run(client, "thinking", f"{provider}/thinker")

    assert answer["text"] == "Hello."
    assert (answer["reasoning"] or "").strip() == ("" if client in WITHOUT_REASONING else THOUGHTS.strip())


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_an_answer_is_an_object(run, client, provider):
    assert run(client, "structured", f"{provider}/m") == {"city": "Paris", "people": 1}


@pytest.mark.parametrize(
    "scenario",
    [
        "structured",
        "structured by tools",
        "structured by strict tools",
        "structured by JSON mode",
        "structured stream",
        "structured image",
    ],
)
def test_instructor_gets_objects_in_all_of_its_ways(run, fake, scenario):
    if scenario == "structured by JSON mode":
        fake.script(model="m", answer={"text": '{"city": "Paris", "people": 1}'})
    else:
        fake.script(model="m")

    assert run("instructor.py", scenario, "groq/m") == {"city": "Paris", "people": 1}


@pytest.mark.parametrize("client", ["langchain.py", "litellm.py", "pydantic_ai.py", "ai_sdk.mjs"])
def test_a_document_and_a_recording_reach_the_provider(run, fake, client):
    assert run(client, "document", "gemini/m")["text"] == ANSWER
    parts = fake.log()[-1].body["contents"][-1]["parts"]
    kinds = [part["inlineData"]["mimeType"] for part in parts if "inlineData" in part]
    assert kinds == ["application/pdf", "audio/wav"]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_image_reaches_the_provider(run, fake, client):
    answer = run(client, "image", "groq/m")

    assert answer["text"] == ANSWER
    (part,) = [part for part in fake.log()[-1].body["messages"][-1]["content"] if part["type"] == "image_url"]
    assert part["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
