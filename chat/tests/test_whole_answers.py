"""Answers that a provider has finished are delivered once and as they are."""

from __future__ import annotations

import json

import pytest

from llm.tests.bodies import DONE, END, calls, chunk, fragment
from qa.fake_provider.answers import WORDS
from qa.testing.chat import messages, settled_usage
from tenants.models import LedgerEntry

HELLO = [{"role": "user", "content": "Hello"}]
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
THOUGHTS = ["Easy, ", "4.\n</th", "ink>\n\nThe ", "answer is 4."]
REFUSAL = chunk(delta={"refusal": "I'm sorry, "}) + chunk(delta={"refusal": "no."}) + END
UNKNOWN_TOOL = calls(fragment("{}", name="format_disk", index=0, id="a")) + chunk(None, "tool_calls") + DONE
BROKEN_ARGUMENTS = calls(fragment('{"a": ', name="clock", index=0, id="a")) + chunk(None, "tool_calls") + DONE


@pytest.fixture
def replies_with(fake):
    """Return a function that sets the bodies of the next answers; the last one is repeated."""

    def script(*bodies, provider="groq"):
        fake.script(provider=provider, raw={"pieces": [bodies[-1]]})
        for body in reversed(bodies[:-1]):  # the newest script comes first
            fake.script(provider=provider, raw={"pieces": [body]}, times=1)

    return script


def asked(client, **options):
    return client.chat.completions.create(model="groq/some-model", messages=HELLO, **options)


def joined(chunks, name):
    deltas = (each.choices[0].delta for each in chunks if each.choices)
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


# -- refusals -----------------------------------------------------------------------------------


def test_a_refusal_is_an_answer_to_openai_clients(openai_client, replies_with, fake, acme):
    replies_with(REFUSAL)
    (choice,) = asked(openai_client).choices
    assert (choice.message.content, choice.message.refusal) == (None, "I'm sorry, no.")
    assert choice.finish_reason == "stop"

    chunks = list(asked(openai_client, stream=True))
    assert (joined(chunks, "content"), joined(chunks, "refusal")) == ("", "I'm sorry, no.")
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(fake.log()) == 2
    settled_usage(acme)
    assert set(LedgerEntry.objects.filter(tenant=acme).values_list("outcome", "messages")) == {("ok", 1)}


def test_a_refusal_is_a_reply_of_its_own_kind(dave_client, session, replies_with, fake):
    replies_with(REFUSAL)
    answer = dave_client.post(messages(session), {"message": "Hi"})
    assert answer.status_code == 201, answer.content
    reply = answer.json()["reply"]
    assert (reply["content"], reply["finish"], reply["status"]) == ("I'm sorry, no.", "refusal", "complete")
    assert len(fake.log()) == 1


def test_a_cut_refusal_is_rescued(openai_client, replies_with):
    replies_with(chunk(delta={"refusal": "I'm so"}), REFUSAL)
    chunks = list(asked(openai_client, stream=True))
    assert (joined(chunks, "content"), joined(chunks, "refusal")) == ("", "I'm sorry, no.")


# -- thoughts that only a closing tag ends --------------------------------------------------------


def test_thoughts_without_an_opening_tag_are_not_in_the_reply(dave_client, session, replies_with, fake):
    replies_with("".join(map(chunk, THOUGHTS)) + END)
    answer = dave_client.post(messages(session), {"message": "2 + 2?"})
    assert answer.json()["reply"]["content"] == "The answer is 4."
    assert len(fake.log()) == 1


def test_a_stream_takes_such_thoughts_back(dave_client, session, replies_with):
    replies_with("".join(map(chunk, THOUGHTS)) + END)
    response = dave_client.post(messages(session), {"message": "2 + 2?", "stream": True})
    events = b"".join(response.streaming_content).decode().split("\n\n")
    named = [event.split("\n") for event in events if event.startswith("event: ")]
    text = ""
    for event in named:
        data = json.loads(event[-1].removeprefix("data: "))
        text = "" if event[0] == "event: restart" else text + data.get("text", "")
    assert text == "The answer is 4."
    assert data["reply"]["content"] == "The answer is 4." if "reply" in data else True


def test_thoughts_are_not_the_answer_to_openai_clients(openai_client, replies_with):
    replies_with("".join(map(chunk, THOUGHTS)) + END)
    message = asked(openai_client).choices[0].message
    assert (message.content, message.reasoning) == ("The answer is 4.", "Easy, 4.\n")


def test_thoughts_of_one_piece_are_not_in_a_stream(openai_client, replies_with):
    replies_with(chunk("".join(THOUGHTS)) + END)
    chunks = list(asked(openai_client, stream=True))
    assert (joined(chunks, "content"), joined(chunks, "reasoning")) == ("The answer is 4.", "Easy, 4.\n")


# -- calls that cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "called"), [(UNKNOWN_TOOL, ("format_disk", "{}")), (BROKEN_ARGUMENTS, ("clock", '{"a": '))]
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_unusable_call_is_handed_out_after_one_retry(
    openai_client, replies_with, fake, body, called, stream
):
    replies_with(body)
    if stream:
        chunks = list(asked(openai_client, tools=[CLOCK], stream=True))
        deltas = [each.choices[0].delta for each in chunks]
        made = [call.function for delta in deltas for call in delta.tool_calls or []]
        name, arguments = (
            "".join(getattr(each, key) or "" for each in made) for key in ("name", "arguments")
        )
        finish = chunks[-1].choices[0].finish_reason
    else:
        (choice,) = asked(openai_client, tools=[CLOCK]).choices
        finish, (call,) = choice.finish_reason, choice.message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert ((name, arguments), finish) == (called, "tool_calls")
    # What a stream has sent is not asked for again.
    assert len(fake.log()) == (1 if stream and body is BROKEN_ARGUMENTS else 2)


def test_a_retry_may_give_a_call_that_can_be_used(openai_client, replies_with, fake):
    good = calls(fragment("{}", name="clock", index=0, id="a")) + chunk(None, "tool_calls") + DONE
    replies_with(UNKNOWN_TOOL, good)
    (call,) = asked(openai_client, tools=[CLOCK]).choices[0].message.tool_calls
    assert call.function.name == "clock"
    assert len(fake.log()) == 2


# -- ends and cuts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [chunk("All said.") + DONE, chunk("All said.", "EOS") + DONE])
def test_an_announced_end_is_one_paid_call(openai_client, replies_with, fake, body):
    replies_with(body)
    (choice,) = asked(openai_client).choices
    assert (choice.message.content, choice.finish_reason) == ("All said.", "stop")
    assert len(fake.log()) == 1


@pytest.mark.parametrize("word", ["insufficient_system_resource", "network_error", "cancelled"])
def test_an_answer_that_ends_with_another_word_is_rescued(dave_client, session, replies_with, fake, word):
    replies_with(chunk("You said: ") + chunk("", word) + DONE)
    reply = dave_client.post(messages(session), {"message": "Hi"}).json()["reply"]
    assert (reply["content"], reply["finish"]) == (f"You said: Hi {WORDS}", "stop")
    assert len(fake.log()) == 2
