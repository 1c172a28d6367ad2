"""Full-text search in a tenant's messages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from chat.models import ChatSession, Message
from qa.testing.chat import settled
from qa.testing.tenants import problem, signed_in


def store(session: ChatSession, *texts: str, **fields) -> list[Message]:
    """Store messages in the session, oldest first."""
    first = Message.objects.filter(session=session).count() + 1
    return [
        Message.objects.create(
            session=session, tenant=session.tenant, seq=seq, content=text, **{"role": "user", **fields}
        )
        for seq, text in enumerate(texts, first)
    ]


@pytest.fixture
def search(dave_client, acme):
    def found(words: str, **filters) -> list[str]:
        answer = dave_client.get(f"/api/chat/tenants/{acme.pk}/messages", {"search": words, **filters})
        assert answer.status_code == 200, answer.content
        return [message["content"] for message in answer.json()["results"]]

    return found


def test_messages_with_all_the_words_are_found_newest_first(search, session):
    store(session, "Where is my parcel?", "The parcel is lost.", "Lost again", "A lost PARCEL, really")

    assert search("lost parcel") == ["A lost PARCEL, really", "The parcel is lost."]
    assert search("nowhere") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Das Päckchen ist weg", "packchen"),
        ("Où est le colis de l'été ?", "ete"),
        ("Посылка потеряна", "посылка"),
        ("荷物 は どこ", "荷物"),
        ("मेरा सामान खो गया", "मेरा"),
        ("the and of", "the"),
        ("Order #4711-B", "4711"),
    ],
)
def test_search_works_in_any_language(search, session, text, words):
    store(session, text, "something else")

    assert search(words) == [text]


def test_a_reply_is_found_once_it_is_final(fake, site, search, session):
    answer = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"})
    reply = settled(answer.json()["reply"]["id"])
    [word, *_] = reply.content.split()

    assert reply.content in search(word)

    Message.objects.filter(pk=reply.pk).update(status="streaming")
    assert reply.content not in search(word)


def test_a_search_can_be_filtered_by_role_status_and_period(search, session):
    [old] = store(session, "old parcel")
    Message.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=9))
    store(session, "cut parcel", role="assistant", status="interrupted")
    store(session, "new parcel")
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()

    assert search("parcel") == ["new parcel", "cut parcel", "old parcel"]
    assert search("parcel", role="assistant") == ["cut parcel"]
    assert search("parcel", status="interrupted") == ["cut parcel"]
    assert search("parcel", status="streaming") == []
    assert search("parcel", created_after=yesterday) == ["new parcel", "cut parcel"]
    assert search("parcel", created_before=yesterday) == ["old parcel"]


def test_pages_contain_each_message_once(dave_client, acme, session):
    store(session, *(f"parcel {number}" for number in range(7)))
    url, seen = f"/api/chat/tenants/{acme.pk}/messages?search=parcel&page_size=3", []
    while url:
        page = dave_client.get(url).json()
        seen += [message["content"] for message in page["results"]]
        url = page["next"]

    assert seen == [f"parcel {number}" for number in reversed(range(7))]


def test_a_search_can_be_limited_to_one_conversation(dave_client, acme, dave, session):
    other = ChatSession.objects.create(tenant=acme, user=dave)
    store(session, "my parcel")
    store(other, "your parcel")

    answer = dave_client.get(f"/api/chat/sessions/{session.pk}/messages?search=parcel")

    assert [message["content"] for message in answer.json()["results"]] == ["my parcel"]


def test_another_tenants_messages_are_never_found(search, session, umbrella, mallory, acme):
    theirs = ChatSession.objects.create(tenant=umbrella, user=mallory)
    store(theirs, "secret parcel")
    store(session, "own parcel")
    mallory_client = signed_in(mallory)

    assert search("parcel") == ["own parcel"]
    assert search("secret") == []
    assert (
        problem(mallory_client.get(f"/api/chat/tenants/{acme.pk}/messages?search=parcel"), 404) == "not_found"
    )
    mine = mallory_client.get(f"/api/chat/tenants/{umbrella.pk}/messages?search=parcel").json()["results"]
    assert [message["content"] for message in mine] == ["secret parcel"]


@pytest.mark.parametrize(
    ("words", "finds"),
    [
        ('"parcel', True),
        ('par"cel', False),
        ("-parcel", True),
        ("parcel -lost", True),
        ("parcel\\", True),
        ("\\", False),
        ("--- ... !?", False),
        ("$where {$ne: null}", False),
        ("p" * 200, False),
        ("é" * 200, False),
        (" ".join("abcdefghij" * 10), False),
        ("\U0001f4e6", False),
        ("%00", False),
    ],
)
def test_special_characters_are_plain_words(search, session, words, finds):
    store(session, "The parcel is lost.")

    assert bool(search(words)) is finds


@pytest.mark.parametrize("words", ["p" * 1000, "a " * 500, '"' * 201, "par\x00cel"])
def test_invalid_searches_are_rejected(dave_client, acme, words):
    answer = dave_client.get(f"/api/chat/tenants/{acme.pk}/messages", {"search": words})

    assert problem(answer, 400) == "invalid"
    assert "search" in answer.content.decode()


def test_an_empty_search_filters_nothing(search, session):
    store(session, "anything")

    assert search("") == search("  ") == ["anything"]


def test_a_search_reads_only_matches_from_the_text_index(commands, dave_client, acme, session):
    store(session, *(f"parcel {number}" for number in range(30)), *["nothing"] * 30)
    with commands.recording() as recording:
        url = f"/api/chat/tenants/{acme.pk}/messages"
        after = (timezone.now() - timedelta(days=1)).isoformat()
        for query in ({}, {"role": "user"}, {"status": "complete"}, {"created_after": after}):
            assert dave_client.get(url, {"search": "parcel 7", **query}).status_code == 200

    slow = recording.slow_queries(connection.database)
    # Only the sort of the matches: a text index has no order by time.
    assert [line.split("\n")[0] for line in slow] == ["aggregate chat_message: SORT"]
    searches = [c for c in recording.commands if str(c) == "aggregate chat_message"]
    assert len(searches) == 4
    for command in searches:
        query = {"aggregate": "chat_message", "pipeline": command.body["pipeline"], "cursor": {}}
        plan = connection.database.command("explain", query, verbosity="executionStats")
        assert "TEXT_MATCH" in str(plan)
        assert "'keysExamined': 3" in str(plan)
