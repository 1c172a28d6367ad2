"""Documents that are read and rendered without the ORM and the serializers."""

from __future__ import annotations

import pytest
from bson import Decimal128

from chat.models import ChatSession, Message
from chat.serializers import MessageSerializer, UsageSerializer, message_data
from chat.turns import Reply
from core.mongo.models import Document
from qa.testing.chat import settled
from tenants.models import ApiKey, LedgerEntry, Membership, Plan, Tenant


@pytest.fixture
def exchange(fake, site, session) -> dict:
    """A question and its reply, settled, sent with an API key."""
    shown = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"}).json()
    settled(shown["reply"]["id"])
    return shown


@pytest.mark.parametrize("model", [ApiKey, ChatSession, LedgerEntry, Membership, Message, Plan, Tenant])
def test_from_document_returns_what_the_orm_reads(model: type[Document], exchange):
    by_orm = model.objects.order_by("-pk").first()
    raw = model.from_document(model.collection().find_one({"_id": by_orm.pk}))

    assert _attributes(raw) == _attributes(by_orm)
    assert (raw._state.adding, raw._state.db) == (False, by_orm._state.db)


def test_a_document_that_was_not_read_by_the_orm_can_be_saved(exchange):
    session = ChatSession.from_document(ChatSession.collection().find_one())
    session.title = "Renamed"
    session.save(update_fields=["title"])

    assert ChatSession.objects.get().title == "Renamed"


def test_a_missing_field_is_none():
    assert Plan.from_document({"_id": 1}).name is None


def test_message_data_has_the_fields_of_its_serializer(exchange):
    assert list(exchange["reply"]) == list(MessageSerializer().fields)
    assert list(exchange["reply"]["usage"]) == list(UsageSerializer().fields)


def test_a_message_looks_the_same_sent_read_and_listed(exchange, site, session):
    listed = site.get(f"/api/chat/sessions/{session.pk}/messages").json()["results"]

    assert listed == [exchange["message"], exchange["reply"]]
    for shown in listed:
        assert site.get(f"/api/chat/sessions/{session.pk}/messages/{shown['id']}").json() == shown


@pytest.mark.parametrize(
    ("stored", "shown"),
    [(None, None), ("0.00001234", "0.0000123400"), ("12", "12.0000000000"), ("1E-10", "0.0000000001")],
)
def test_a_cost_has_ten_places(stored, shown, exchange):
    raw = Message.collection().find_one({"role": "assistant"})
    raw["cost"] = stored and Decimal128(stored)

    assert message_data(Reply.from_document(raw), None)["usage"]["cost"] == shown


def test_times_tell_their_zone(exchange):
    asked = Message.objects.get(role="user")

    assert exchange["message"]["created_at"] == asked.created_at.isoformat().replace("+00:00", "Z")


def _attributes(document: Document) -> dict:
    return {name: (type(value), value) for name, value in vars(document).items() if name != "_state"}
