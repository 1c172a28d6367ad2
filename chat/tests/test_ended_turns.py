"""A turn that has ended holds nothing of the limits, although it is settled a moment later."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from qa.testing.chat import settled
from qa.testing.tenants import issue, limited, problem
from qa.testing.waiting import wait_until
from tenants.models import LedgerEntry, Usage

CONSECUTIVE_TURNS = 12


@pytest.fixture
def post(site, acme, alice, session):
    """The ways to begin a turn: in a session, in one call, as an OpenAI client."""
    secret = issue(acme, alice, scopes=["messages:send"]).secret
    bearer = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")
    question = {"messages": [{"role": "user", "content": "Hello"}], "model": "default"}
    return {
        "message": lambda: site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"}),
        "chat": lambda: site.post("/api/chat", {"message": "Hello"}),
        "openai": lambda: bearer.post("/v1/chat/completions", question),
    }


@pytest.mark.parametrize("way", ["message", "chat", "openai"])
def test_consecutive_turns_never_count_as_concurrent(fake, acme, post, way):
    limited(acme, concurrent_turns=1)

    statuses = [post[way]().status_code for _ in range(CONSECUTIVE_TURNS)]

    assert set(statuses) <= {200, 201}, statuses


def test_the_unused_part_of_a_reservation_is_available_to_the_next_turn(fake, acme, post):
    reply = post["message"]().json()["reply"]
    settled(reply["id"])
    used = Usage.objects.of(acme).months.popitem()[1]["tokens"]
    # Each reserves far more than it uses.
    limited(acme, tokens_per_month=used * 10 + 1500)

    assert [post["message"]().status_code for _ in range(4)] == [201] * 4


def test_a_limit_that_is_used_up_is_still_enforced(fake, acme, post):
    limited(acme, messages_per_month=3)

    assert [post["message"]().status_code for _ in range(5)] == [201, 201, 201, 429, 429]
    assert problem(post["message"](), 429) == "quota_exceeded"


def test_what_a_turn_has_used_counts_although_its_session_is_erased_before_it_ends(
    fake, acme, post, session, commands
):
    def erase() -> None:
        Message.collection().delete_many({"session_id": session.pk})
        ChatSession.collection().delete_one({"_id": session.pk})

    Usage.objects.of(acme)  # exists, so these are the writes: the reservation, both messages, the final state
    with commands.interrupted(erase, before_write=3):
        response = post["message"]()

    assert problem(response, 410) == "session_deleted"
    wait_until(lambda: Usage.objects.of(acme).live == 0, "the reservation was not settled")
    (entry,) = LedgerEntry.objects.all()
    assert (entry.outcome, entry.messages, entry.session) == ("ok", 1, None)
    usage = Usage.objects.of(acme)
    assert [month["messages"] for month in usage.months.values()] == [1]
    assert not Message.objects.exists()
