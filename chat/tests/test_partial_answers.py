"""A part of an answer that stays: whose it is, and that it is counted where not the provider ended it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chat.models import Message
from llm.tests.bodies import chunk
from qa.testing.chat import messages, settled, settled_usage
from tenants.models import LedgerEntry

WORDS = [chunk(word) for word in ("one ", "two ", "three ", "four ", "five ", "six ")]


def reply_of(session) -> Message:
    return settled(str(Message.objects.get(session=session, role="assistant").pk))


def counted(acme) -> tuple[int, int, Decimal]:
    (month,) = settled_usage(acme).months.values()
    return month["messages"], month["tokens"], month["cost"].to_decimal()


def test_provider_and_model_of_a_reply_are_of_one_attempt(fake, dave_client, session, settings):
    settings.LLM_ROUTE = ["gemini/gemini-3.5-flash-lite", "openrouter/openai/gpt-oss-120b"]
    settings.LLM_PROVIDERS["gemini"]["api_key"] = "test-key"
    text = {"text": "one two three four five six seven eight nine ten"}
    fake.script(fault="cut-after-6", answer=text)

    dave_client.post(messages(session), {"message": "Count."})

    reply = reply_of(session)
    assert reply.status == "interrupted"
    assert reply.content.split() == ["one", "two", "three", "four", "five", "six"]
    pairs = {(attempt["provider"], attempt["model_used"]) for attempt in reply.attempts}
    assert (reply.provider, reply.model) in pairs


@pytest.mark.parametrize("ending", ["too long", "too large", "blocked"])
def test_a_part_that_the_provider_did_not_end_is_counted_and_billed(
    fake, dave_client, session, acme, settings, ending
):
    settings.LLM_ROUTE = ["groq/openai/gpt-oss-120b"]
    match ending:
        case "too long":
            settings.LLM_TOTAL_SECONDS = 1.0
            fake.script(raw={"pieces": [*WORDS, *[0.3, chunk("more ")] * 20]})
        case "too large":
            settings.LLM_MAX_REPLY_BYTES = 2000
            fake.script(raw={"pieces": [*WORDS, 0.1, *[chunk("more ")] * 100]})
        case "blocked":
            fake.script(raw={"pieces": [*WORDS, chunk("", "content_filter")]})

    dave_client.post(messages(session), {"message": "Write without end."})

    reply = reply_of(session)
    assert reply.content.startswith("one two three four five six")
    (line,) = LedgerEntry.objects.filter(reply=reply.pk)
    assert (line.messages, line.cost_basis) == (1, "estimated")
    assert line.tokens == line.input_tokens + line.output_tokens > len(reply.content) // 5
    assert line.cost > 0
    assert counted(acme) == (1, line.tokens, line.cost)

    dave_client.post(f"{messages(session)}/{reply.pk}/retry")

    assert counted(acme)[0] == 2, "a retry is another answer"


def test_a_part_that_the_provider_ended_is_not_counted(fake, dave_client, session, acme, settings):
    settings.LLM_ROUTE = ["groq/openai/gpt-oss-120b"]
    fake.script(raw={"pieces": WORDS, "end": "close"})

    dave_client.post(messages(session), {"message": "Count."})

    assert reply_of(session).status == "interrupted"
    assert counted(acme) == (0, 0, 0)


def test_an_answer_that_is_only_an_image_is_asked_for_once(fake, dave_client, session):
    url = "data:image/png;base64,iVBORw0KGgo="
    delta = {"content": "", "images": [{"type": "image_url", "image_url": {"url": url}}]}
    fake.script(raw={"pieces": [chunk(None, "stop", delta=delta)]}, times=1)

    answer = dave_client.post(messages(session), {"message": "Draw."}).json()["reply"]

    assert (answer["status"], answer["content"]) == ("complete", f"![image]({url})")
    assert len(fake.log()) == 1
    dave_client.post(messages(session), {"message": "Thanks."})
    assert [m["content"] for m in fake.log()[-1].body["messages"]] == ["Draw.", "[image]", "Thanks."]
