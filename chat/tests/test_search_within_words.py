"""Search for words that no space separates, and for emoji."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from chat.kept_data import stored_bytes, turn_bytes
from chat.models import ChatSession, Message
from chat.turns import replies
from core.mongo.text_search import MAX_INNER_WORDS, inner_words
from qa.testing.chat import messages, settled


@pytest.fixture
def search(dave_client, acme):
    def found(words: str) -> list[str]:
        answer = dave_client.get(f"/api/chat/tenants/{acme.pk}/messages", {"search": words})
        assert answer.status_code == 200, answer.content
        return [message["content"] for message in answer.json()["results"]]

    return found


def store(session: ChatSession, *texts: str) -> None:
    first = Message.objects.filter(session=session).count() + 1
    for seq, text in enumerate(texts, first):
        Message.objects.create(session=session, tenant=session.tenant, seq=seq, role="user", content=text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我的包裹丢了，请帮帮我。", "包裹"),
        ("我的包裹丢了，请帮帮我。", "我的包裹丢了"),
        ("我的包裹丢了，请帮帮我。", "包裹 帮帮"),
        ("我的包裹丢了", "丢"),
        ("請問我的訂單在哪裡", "訂單"),
        ("荷物はどこにありますか", "荷物"),
        ("荷物はどこにありますか", "どこ"),
        ("このカメラを返品したい", "カメラ"),
        ("お茶をください", "茶"),
        ("ｶﾒﾗを返品", "ｶﾒﾗ"),
        ("พัสดุของฉันหายไปไหน", "ของฉัน"),
        ("พัสดุของฉันหายไปไหน", "หายไป"),
        ("น้ำดื่มเย็นมาก", "น้ำ"),
        ("택배가 아직 안 왔어요", "택배"),
        ("ຂ້ອຍບໍ່ໄດ້ຮັບພັດສະດຸ", "ພັດສະດຸ"),
        ("កញ្ចប់របស់ខ្ញុំបាត់", "របស់"),
        ("ငါ့အထုပ်ပျောက်သွားပြီ", "ပျောက်"),
        ("𠮷野家で食べた", "𠮷野家"),
        ("我的iPhone坏了", "iphone"),
        ("我的iPhone15坏了", "iPhone15坏"),
        ("订单4711已发货", "4711"),
        ("Your parcel 📦 is here", "📦"),
        ("parcel📦lost", "📦"),
        ("parcel📦lost", "lost"),
        ("Great 👍🏽!", "👍🏽"),
        ("Great 👍🏽!", "👍"),
        ("I ❤️ it", "❤"),
        ("I ❤ it", "❤️"),
        ("from 🇩🇪 to 🇫🇷", "🇫🇷"),
        ("the 👨‍👩‍👧 came", "👨‍👩‍👧"),
        ("今日は🍣を食べた", "🍣"),
        ("今日は🍣を食べた", "食べ 🍣"),
        ("「荷物」", "「荷物」"),
    ],
)
def test_a_word_within_a_text_is_found(search, session, text, words):
    store(session, "something else 别的 ほかの 😀 อื่น", text)

    assert search(words) == [text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我的包裹丢了", "裹包"),
        ("包 and 裹", "包裹"),
        ("包裹 and 丢了", "包裹丢了"),
        ("我的包裹", "包裹 订单"),
        ("from 🇩🇪", "🇫🇷"),
        ("Great 👍", "👎"),
        ("the 👨 and 👩", "👨‍👩‍👧"),
        ("荷物", "、。"),
    ],
)
def test_what_a_text_does_not_have_is_not_found(search, session, text, words):
    store(session, text)

    assert search(words) == []


def test_another_tenants_words_are_not_found(search, session, umbrella, mallory):
    store(ChatSession.objects.create(tenant=umbrella, user=mallory), "我的包裹丢了 📦")

    assert search("包裹") == search("📦") == []


def test_questions_and_replies_are_found_once_they_are_final(fake, site, search, session):
    fake.script(answer={"text": "您的包裹在路上 🚚"})
    sent = site.post(messages(session), {"message": "我的订单呢"}).json()
    settled(sent["reply"]["id"])

    assert search("订单") == ["我的订单呢"]
    assert search("路上") == search("🚚") == ["您的包裹在路上 🚚"]


def test_the_partial_text_of_a_dead_worker_is_found(search, session):
    store(session, "问题")
    [question] = Message.objects.all()
    reply = Message.objects.create(
        session=session,
        tenant=session.tenant,
        seq=2,
        role="assistant",
        in_reply_to=question,
        status="streaming",
        lease_until="2020-01-01T00:00:00Z",
    )
    Message.objects.filter(pk=reply.pk).update(content="您的包裹在")

    replies.interrupt_expired(10)

    assert search("包裹") == ["您的包裹在"]


def test_messages_from_before_are_found_after_the_migration(search, session):
    store(session, "我的包裹丢了", "plain words")
    Message.collection().update_many({}, {"$unset": {"search_terms": ""}})
    assert search("包裹") == []

    import_module("chat.migrations.0009_inner_words").store_inner_words(apps, None)

    assert search("包裹") == ["我的包裹丢了"]
    assert "search_terms" not in Message.collection().find_one({"content": "plain words"})


def test_a_text_has_a_bounded_number_of_inner_words():
    text = "".join(chr(code) for code in range(0x4E00, 0x9FFF)) * 5
    assert len(inner_words(text).split(" ")) == MAX_INNER_WORDS
    assert inner_words("plain words, and Wörter") == ""


def test_inner_words_are_not_shown_and_count_as_kept(site, session):
    store(session, "我的包裹丢了" * 50)
    assert "search_terms" not in site.get(messages(session)).content.decode()
    assert stored_bytes(Message, {}) <= turn_bytes("我的包裹丢了" * 50, {})


def test_a_search_within_words_reads_matches_of_the_index(commands, dave_client, acme, session):
    store(session, *["我的包裹丢了"] * 3, *["别的东西"] * 30)
    with commands.recording() as recording:
        dave_client.get(f"/api/chat/tenants/{acme.pk}/messages", {"search": "包裹丢"})

    [command] = [c for c in recording.commands if str(c) == "aggregate chat_message"]
    query = {"aggregate": "chat_message", "pipeline": command.body["pipeline"], "cursor": {}}
    plan = str(connection.database.command("explain", query, verbosity="executionStats"))
    assert "TEXT_MATCH" in plan
    assert {int(count) for count in re.findall(r"'docsExamined': (\d+)", plan)} == {3}
