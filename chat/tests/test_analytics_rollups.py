"""Roll-ups follow their messages, whatever happens to these, and decide nothing but speed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from chat.analytics import calendar_rollups, rollups
from chat.analytics.counting import count_spans
from chat.analytics.deletion import anonymize_person, delete_messages, delete_sessions
from chat.analytics.models import Rollup, RollupCoverage
from chat.analytics.periods import QUARTER, Period, Span, floor_quarter
from chat.models import ChatSession, Message
from chat.tests.analytics_client import ask, check
from qa.testing.concurrency import at_once
from qa.testing.traffic import Traffic

pytestmark = pytest.mark.django_db

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC)
WEEK = {"from": "2026-03-01", "to": "2026-03-08"}


@pytest.fixture
def traffic(acme) -> Traffic:
    return Traffic(acme.pk, START, END, seed=7).turns(300).stored()


def a_reply(tenant, **match) -> dict:
    return Message.collection().find_one(
        {"tenant_id": tenant.pk, "role": "assistant", "status": "complete", "feedback": None, **match}
    )


def announced(tenant, message: dict) -> None:
    rollups.invalidate(tenant.pk, [message["created_at"].replace(tzinfo=UTC)])


def let_settle() -> None:
    """As if everything had been announced an hour ago."""
    Rollup.collection().update_many(
        {"marked_at": {"$ne": None}}, {"$set": {"marked_at": timezone.now() - timedelta(hours=1)}}
    )


def stale(tenant) -> int:
    return Rollup.collection().count_documents({"tenant_id": tenant.pk, "kind": "quarter", "fresh": False})


def days(tenant) -> int:
    return Rollup.collection().count_documents({"tenant_id": tenant.pk, "kind": "day", "fresh": True})


@pytest.mark.timeout(20)
def test_a_worker_that_died_before_its_first_step_holds_nobody_up(site, acme, traffic):
    """It had put on record where figures begin to be kept, and nothing more."""
    RollupCoverage.objects.create(tenant=acme, since=START, until=START)

    check(ask(site, acme, **WEEK), acme)

    assert rollups.coverage(acme.pk) == Span(START, END)


def test_a_long_period_is_answered_without_reading_messages(site, acme, traffic):
    before = ask(site, acme, **WEEK)
    Message.collection().delete_many({})
    ChatSession.collection().delete_many({})

    assert ask(site, acme, **WEEK) == before
    assert before["totals"]["messages"] == 300


def test_days_are_stored_once_for_each_zone(site, acme, traffic):
    ask(site, acme, **WEEK)
    assert days(acme) == 7
    ask(site, acme, **WEEK)
    assert days(acme) == 7
    ask(site, acme, **WEEK, tz="Asia/Kolkata")
    assert days(acme) == 14


def test_months_and_weeks_follow_late_changes_too(site, acme, traffic):
    quarter_of_a_year = {"from": "2026-01-01", "to": "2026-04-01"}
    for interval in ("week", "month", "day"):
        before = ask(site, acme, **quarter_of_a_year, interval=interval)
        reply = a_reply(acme)
        announced(acme, reply)
        Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})
        after = ask(site, acme, **quarter_of_a_year, interval=interval)
        assert after["totals"]["feedback"]["up"] == before["totals"]["feedback"]["up"] + 1
        check(after, acme)
        let_settle()
        check(ask(site, acme, **quarter_of_a_year, interval=interval), acme)
        check(ask(site, acme, **quarter_of_a_year, interval=interval), acme)
    stored = Rollup.collection().count_documents({"kind": {"$in": ["week", "month"]}, "fresh": True})
    assert stored > 0


def test_a_day_that_is_announced_while_its_month_is_made_is_not_in_it(site, acme, traffic):
    """The month's place is taken, its days are read, then one of them changes."""
    february_and_march = Period(
        Span(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)), "day", ZoneInfo("UTC")
    )
    rollups.refresh(acme.pk, february_and_march)
    Rollup.collection().delete_many({"kind": "month"})
    months = february_and_march.full_intervals("month")
    places = calendar_rollups._insert_placeholders(acme.pk, "month", months)
    summed = dict(calendar_rollups._sum_days(acme.pk, months, ZoneInfo("UTC")))
    reply = a_reply(acme)
    announced(acme, reply)
    for month, figures in summed.items():
        Rollup.collection().update_one(
            {"_id": places[month]}, {"$set": calendar_rollups._completion(figures)}
        )
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})

    check(ask(site, acme, **{"from": "2026-02-01", "to": "2026-04-01"}), acme)


def test_a_lost_rollup_is_made_again(site, acme, traffic):
    before = ask(site, acme, **WEEK)
    Rollup.collection().delete_many({})
    RollupCoverage.collection().delete_many({})

    assert ask(site, acme, **WEEK) == before


def test_coverage_grows_both_ways_without_a_gap(site, acme, traffic):
    for start, end in (
        ("2026-03-04", "2026-03-05"),
        ("2026-03-07", "2026-03-08"),
        ("2026-03-01", "2026-03-02"),
    ):
        check(ask(site, acme, **{"from": start, "to": end}), acme)

    check(ask(site, acme, **WEEK), acme)
    assert rollups.coverage(acme.pk).end == END


def test_late_feedback_counts_at_once(site, acme, traffic):
    before = ask(site, acme, **WEEK)
    reply = a_reply(acme)
    announced(acme, reply)
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})

    after = ask(site, acme, **WEEK)
    assert after["totals"]["feedback"]["up"] == before["totals"]["feedback"]["up"] + 1
    check(after, acme)


def test_an_announced_change_is_rolled_up_only_once_it_must_have_happened(site, acme, traffic):
    ask(site, acme, **WEEK)
    reply = a_reply(acme)
    announced(acme, reply)
    ask(site, acme, **WEEK)  # rolls up nothing of that quarter hour: the change may still come
    assert stale(acme) == 1
    assert days(acme) == 6
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "down"}}})
    check(ask(site, acme, **WEEK), acme)

    let_settle()
    check(ask(site, acme, **WEEK), acme)
    assert stale(acme) == 0
    assert days(acme) == 7
    check(ask(site, acme, **WEEK), acme)


def test_a_retried_reply_counts_as_running_and_then_as_it_ends(site, acme, traffic):
    before = ask(site, acme, **WEEK)["totals"]
    reply = a_reply(acme)
    announced(acme, reply)
    let_settle()
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"status": "streaming"}})
    running = ask(site, acme, **WEEK)
    assert running["totals"]["replies"]["complete"] == before["replies"]["complete"] - 1
    check(running, acme)
    assert stale(acme) == 1  # until it ends, however long ago it was announced

    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"status": "cancelled"}})
    ended = ask(site, acme, **WEEK)
    assert ended["totals"]["replies"]["cancelled"] == before["replies"]["cancelled"] + 1
    check(ended, acme)
    assert stale(acme) == 0


def test_a_first_reply_that_outlives_its_quarter_hour_is_waited_for(site, acme):
    Traffic(acme.pk, START, END, seed=8).turns(60, running=0.5).stored()
    check(ask(site, acme, **WEEK), acme)
    assert stale(acme) > 0

    Message.collection().update_many({"status": "streaming"}, {"$set": {"status": "complete"}})
    check(ask(site, acme, **WEEK), acme)
    assert stale(acme) == 0
    check(ask(site, acme, **WEEK), acme)


def test_a_change_while_a_quarter_hour_is_counted_is_not_lost(site, acme, traffic):
    """The change is announced between counting and storing: what was counted must not be believed."""
    ask(site, acme, **WEEK)
    reply = a_reply(acme)
    announced(acme, reply)
    let_settle()
    quarter = floor_quarter(reply["created_at"].replace(tzinfo=UTC))
    marked = {quarter: Rollup.collection().find_one({"kind": "quarter", "start": quarter})}
    counted = count_spans(acme.pk, [Span(quarter, quarter + QUARTER)])
    announced(acme, reply)
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})
    rollups._store(acme.pk, [quarter], marked, counted, timezone.now())

    assert stale(acme) == 1
    check(ask(site, acme, **WEEK), acme)


def test_many_first_readers_agree(site, acme, traffic):
    def reading() -> dict:
        try:
            return ask(site, acme, **WEEK)
        finally:
            connection.close()

    answers = at_once(*[reading] * 4)

    check(answers[0], acme)
    assert answers == [answers[0]] * 4
    assert Rollup.collection().count_documents({"kind": "day"}) == 7
    check(ask(site, acme, **WEEK), acme)


def test_readers_agree_with_each_other_while_messages_go(site, acme, traffic):
    before = ask(site, acme, **WEEK)
    over, seen = Event(), []

    def read() -> None:
        while not over.is_set():
            seen.append(ask(site, acme, **WEEK) == before)
        connection.close()

    reader = Thread(target=read)
    reader.start()
    for session in traffic.sessions[:20]:
        delete_sessions(acme.pk, [session["_id"]])
    over.set()
    reader.join()

    assert seen
    assert all(seen)


def test_the_present_is_counted(site, acme):
    now = timezone.now()
    Traffic(acme.pk, now - timedelta(hours=3), now - timedelta(milliseconds=1), seed=9).turns(100).stored()
    today = ask(site, acme)
    check(today, acme)
    Traffic(acme.pk, now - timedelta(minutes=2), now - timedelta(milliseconds=1), seed=10).turns(5).stored()
    check(ask(site, acme), acme)
    assert rollups.coverage(acme.pk).end <= now - timedelta(minutes=5)


def test_removed_messages_stay_in_the_figures(site, acme, traffic):
    before = ask(site, acme, **WEEK)
    some = [message["_id"] for message in traffic.messages[::3]]
    assert delete_messages(acme.pk, some) == len(some)
    assert delete_messages(acme.pk, some) == 0
    assert ask(site, acme, **WEEK) == before

    let_settle()
    assert ask(site, acme, **WEEK) == before
    assert stale(acme) == 0


def test_messages_removed_before_anyone_asked_stay_too(site, acme, umbrella, traffic):
    Traffic(umbrella.pk, START, END, seed=11).turns(20).stored()
    expected = ask(site, acme, **WEEK)
    Rollup.collection().delete_many({})
    RollupCoverage.collection().delete_many({})

    removed = delete_sessions(acme.pk, [session["_id"] for session in traffic.sessions])

    assert (removed.sessions, removed.messages) == (len(traffic.sessions), 600)
    assert Message.collection().count_documents({}) == 40
    assert ask(site, acme, **WEEK) == expected
    assert ask(site, acme, **WEEK, interval="hour")["totals"] == expected["totals"]


def test_another_tenants_messages_are_never_removed(acme, umbrella, traffic):
    ids = [message["_id"] for message in traffic.messages]
    sessions = [session["_id"] for session in traffic.sessions]

    assert delete_messages(umbrella.pk, ids) == 0
    assert delete_sessions(umbrella.pk, sessions).sessions == 0
    assert Message.collection().count_documents({}) == 600


def test_a_forgotten_visitor_leaves_the_counts_but_no_trace(site, acme, traffic):
    from chat.analytics.metrics import person_digest, unpack_digests

    before = ask(site, acme, **WEEK)
    visitor = "visitor-3"
    of_visitor = [session["_id"] for session in traffic.sessions if session["visitor"] == visitor]
    assert of_visitor
    delete_sessions(acme.pk, of_visitor)
    anonymize_person(acme.pk, "visitor", visitor)

    assert ask(site, acme, **WEEK)["series"][0]["active"] == before["series"][0]["active"]
    there = [
        unpack_digests(row[part]["visitors"])
        for row in Rollup.collection().find()
        for part in ("live", "kept")
        if row[part]
    ]
    assert there
    assert not [people for people in there if person_digest(acme.pk, "visitor", visitor) in people]


def test_the_command_rolls_up_everything_that_is_over(site, acme, traffic, capsys):
    call_command("rollup_analytics")

    assert rollups.coverage(acme.pk).start <= START
    assert days(acme) >= 7
    assert str(acme.pk) in capsys.readouterr().out


def test_verify_finds_and_repairs_what_was_changed_unannounced(site, acme, traffic):
    ask(site, acme, **WEEK)
    call_command("rollup_analytics", "--verify")
    Message.collection().update_one({"_id": a_reply(acme)["_id"]}, {"$set": {"input_tokens": 10**6}})

    with pytest.raises(CommandError, match="1 quarter hours differed"):
        call_command("rollup_analytics", "--verify", "--tenant", str(acme.pk))

    check(ask(site, acme, **WEEK), acme)
    call_command("rollup_analytics", "--verify")


@pytest.mark.parametrize("arguments", [["--tenant", "nobody"], ["--tenant", "0" * 24], ["--tz", "Mars"]])
def test_the_command_refuses_what_it_does_not_know(acme, arguments):
    with pytest.raises(CommandError):
        call_command("rollup_analytics", *arguments)


def test_every_query_is_answered_by_an_index(site, acme, traffic, commands):
    with commands.recording() as recording:
        for interval in ("hour", "day", "week"):
            ask(site, acme, **WEEK, interval=interval)
        ask(site, acme, **{"from": "2026-02-01", "to": "2026-04-01"})
        announced(acme, a_reply(acme))
        ask(site, acme, **{"from": "2026-03-01T00:07", "to": "2026-03-08"})
        delete_sessions(acme.pk, [traffic.sessions[0]["_id"]])

    relevant = [command for command in recording.commands if "chat_" in str(command)]
    assert len(relevant) > 30
    assert recording.slow_queries(connection.database) == []
