"""Pages of a conversation: its beginning, its end, and around a message."""

from __future__ import annotations

import pytest

from chat.models import Message
from qa.testing.chat import messages
from qa.testing.tenants import problem


@pytest.fixture
def long(session):
    for seq in range(1, 31):
        role = "user" if seq % 2 else "assistant"
        Message.objects.create(session=session, tenant=session.tenant, seq=seq, role=role, content=str(seq))
    return session


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("", range(1, 21)),
        ("?ordering=-seq", range(30, 10, -1)),
        ("?ordering=-seq&page_size=3", range(30, 27, -1)),
        ("?ordering=-seq&before=28&page_size=3", range(27, 24, -1)),
        ("?after=28", range(29, 31)),
        ("?after=4&before=8", range(5, 8)),
        ("?after=30", ()),
    ],
)
def test_a_page_of_a_conversation(site, long, query, seqs):
    page = site.get(messages(long) + query).json()
    assert [message["seq"] for message in page["results"]] == list(seqs)


@pytest.mark.parametrize("query", ["before=x", "after=1.5", "before=-1", f"after={2**63}", "ordering=newest"])
def test_wrong_places_are_refused_by_name(site, long, query):
    response = site.get(f"{messages(long)}?{query}")
    assert problem(response, 400) == "invalid"
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]
