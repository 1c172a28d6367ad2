"""Streams to OpenAI's clients: first token, rescue of broken streams, disconnects, the wire format."""

from __future__ import annotations

import json

import pytest
from openai import APIError, InternalServerError

from qa.fake_provider.answers import WORDS
from qa.testing.chat import settled_usage
from tenants.models import LedgerEntry

HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = f"You said: Hello {WORDS}"


def stream_of(client, model="groq/some-model", *fallbacks, **options):
    body = {"fallbacks": list(fallbacks)} if fallbacks else None
    return client.chat.completions.create(
        model=model, messages=HELLO, stream=True, extra_body=body, **options
    )


def text_of(chunks) -> str:
    return "".join(
        chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices and chunk.choices[0].delta
    )


def read_until_text(stream) -> str:
    return next(filter(None, (text_of([chunk]) for chunk in stream)))


def hung_up(fake):
    """Wait until the provider's one caller has disconnected; return the provider's log entry of the call."""
    return fake.wait_for(lambda log: [entry for entry in log if entry.disconnected_after is not None], 5)[0]


# -- the first token ------------------------------------------------------------------------------


def test_the_first_token_arrives_before_the_rest(openai_client, fake):
    fake.script(fault="stall-after-1")

    with stream_of(openai_client) as stream:
        assert read_until_text(stream) == "You "
        (entry,) = fake.log()
        assert not entry.finished
        assert entry.disconnected_after is None


# -- disconnects ------------------------------------------------------------------------


def test_a_client_that_disconnects_stops_the_provider_and_is_billed(openai_client, fake, acme):
    with stream_of(openai_client, "groq/tokens-2000-every-10ms") as stream:
        read_until_text(stream)

    entry = hung_up(fake)
    assert not entry.finished
    usage = settled_usage(acme)
    (line,) = LedgerEntry.objects.filter(tenant=acme)
    assert (line.outcome, line.messages) == ("cancelled", 1)
    assert 0 < line.output_tokens < 2000
    (month,) = usage.months.values()
    assert (month["messages"], month["tokens"]) == (1, line.tokens)
    assert (month["reserved_messages"], month["reserved_tokens"]) == (0, 0)


def test_a_client_that_disconnects_from_a_silent_stream_stops_the_provider(openai_client, fake, acme):
    fake.script(fault="stall-after-2")
    with stream_of(openai_client) as stream:
        read_until_text(stream)

    # Long before the provider's silence would have ended the run.
    assert hung_up(fake).disconnected_after < 8
    settled_usage(acme)
    assert LedgerEntry.objects.get(tenant=acme).outcome == "cancelled"


# -- broken streams ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "cut-reset", "cut-clean", "malformed", "error-event", "no-end"])
def test_a_broken_stream_continues_seamlessly(openai_client, fake, fault):
    chunks = list(stream_of(openai_client, f"groq/fault-{fault}-times-1", "openrouter/good"))

    assert text_of(chunks) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(fake.log()) > 1
    last = fake.log()[-1]
    assert chunks[-1].model == f"{last.provider}/{last.model}"


def test_an_answer_that_would_restart_ends_in_an_error(openai_client, fake, acme):
    fake.script(provider="groq", fault="cut-clean")
    fake.script(provider="openrouter", answer={"text": "Another answer altogether."})
    said = []

    with pytest.raises(APIError) as raised:
        said.extend(stream_of(openai_client, "groq/some-model", "openrouter/good"))
    assert ANSWER.startswith(text_of(said))
    assert raised.value.code == "answer_broken"
    settled_usage(acme)


def test_nothing_follows_the_error_in_a_stream(openai_client, fake):
    fake.script(provider="groq", fault="cut-clean")
    fake.script(provider="openrouter", answer={"text": "Another answer altogether."})
    with openai_client.chat.completions.with_streaming_response.create(
        model="groq/some-model", messages=HELLO, stream=True, extra_body={"fallbacks": ["openrouter/good"]}
    ) as response:
        events = response.text().strip().split("\n\n")

    assert [event for event in events if "error" in event] == events[-1:]
    assert "altogether" not in "".join(events)


def test_a_stream_that_no_provider_can_continue_ends_in_an_error(openai_client, fake, acme):
    said = []

    with pytest.raises(APIError) as raised:
        said.extend(stream_of(openai_client, "groq/fault-cut-clean"))
    assert text_of(said) == "You said: Hello "
    assert (raised.value.code, raised.value.type) == ("provider_failed", "server_error")
    assert settled_usage(acme).months.popitem()[1]["messages"] == 0


def test_a_failure_before_the_first_token_is_an_http_error(openai_client):
    with pytest.raises(InternalServerError) as raised:
        stream_of(openai_client, "groq/fault-401")

    assert raised.value.code == "provider_failed"


def test_an_answer_that_is_not_streamed_is_rescued_too(openai_client, fake):
    answer = openai_client.chat.completions.create(
        model="groq/fault-cut-clean", messages=HELLO, extra_body={"fallbacks": ["openrouter/good"]}
    )

    assert (answer.choices[0].message.content, answer.model) == (ANSWER, "openrouter/good")
    assert all(entry.stream for entry in fake.log())


# -- content filter -----------------------------------------------------------------------------


def test_a_filtered_answer_keeps_its_text(openai_client):
    chunks = list(stream_of(openai_client, "groq/fault-content-filter"))

    assert text_of(chunks) == "You said: Hello "
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_a_filtered_answer_that_is_not_streamed_keeps_its_text(openai_client):
    answer = openai_client.chat.completions.create(model="gemini/fault-content-filter", messages=HELLO)

    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("You said: Hello ", "content_filter")


# -- the wire format --------------------------------------------------------------------------------------


def test_a_stream_is_neither_buffered_nor_cached(openai_client):
    with openai_client.chat.completions.with_streaming_response.create(
        model="groq/some-model", messages=HELLO, stream=True
    ) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        *events, end = filter(None, response.iter_lines())
    assert end == "data: [DONE]"
    assert all(
        json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events
    )


def test_no_character_of_an_answer_is_taken_for_a_line_ending(openai_client, fake):
    text = "one\ntwo\r\nthree\u2028four\u2029five\x85six \U0001f642 日本"
    fake.script(answer={"text": text})

    assert text_of(stream_of(openai_client)) == text
    with openai_client.chat.completions.with_streaming_response.create(
        model="groq/some-model", messages=HELLO, stream=True
    ) as response:
        assert all(line.startswith("data: ") for line in response.text().splitlines() if line)
