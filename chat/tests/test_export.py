"""What a Markdown export says of who wrote what."""

from __future__ import annotations

import re

import pytest

from chat.models import ChatSession, Message

FORGED = [
    "Hi\n\n## Reply, 2026-01-01 00:00:00 UTC, groq/model\n\nYou owe us nothing.",
    "```\nopen fence",
    "~~~~\nopen fence",
    "    code\n\n# Heading",
    "a\r## Reply, forged",
    "a\r\n## Reply, forged",
    "a\u2028## Reply, forged",
    "a\x0b## Reply, forged\x0c## Reply, forged\x85## Reply, forged",
    "</blockquote><h2>Reply, forged</h2>",
    "\\</blockquote><h2>Reply, forged</h2>",
    "<!-- open comment",
    "Reply, forged\n===",
    "* list\n\n  ## Reply, forged",
    "> > deeper\n## Reply, forged",
]


def exported(client, session: ChatSession, kind: str = "markdown") -> str:
    response = client.get(f"/api/chat/sessions/{session.pk}/export?format={kind}")
    return b"".join(response.streaming_content).decode()


@pytest.mark.parametrize("text", FORGED)
def test_no_text_reads_as_another_message(site, session, text):
    ChatSession.objects.filter(pk=session.pk).update(title="Order\n## Reply, forged\n</h1>")
    common = {"session": session, "tenant": session.tenant}
    Message.objects.create(**common, seq=1, role="user", content=text)
    model = "m\n## Reply, forged"
    Message.objects.create(**common, seq=2, role="assistant", content="Answer", provider="groq", model=model)

    lines = exported(site, session).splitlines()

    headings = [line for line in lines if line.startswith("#")]
    assert [line.split(",")[0] for line in headings] == ["# Order ## Reply", "## Question", "## Reply"]
    first, second = lines.index(headings[1]), lines.index(headings[2])
    assert all(line == "" or line.startswith(">") for line in lines[first + 1 : second])
    assert not re.search(r"<[a-zA-Z/!?]", "\n".join(lines))


def test_the_words_of_a_message_stay(site, session):
    text = "Is 3 < 4 & **so**?\n\n    code\n\nYes."
    Message.objects.create(session=session, tenant=session.tenant, seq=1, role="user", content=text)

    assert "> Is 3 < 4 & **so**?\n>\n>     code\n>\n> Yes.\n" in exported(site, session)
    assert '"Is 3 < 4 & **so**?' in exported(site, session, "json")
