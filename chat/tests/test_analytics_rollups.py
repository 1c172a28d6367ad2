"""Roll-ups stay equal to their messages; with and without them, analytics are the same."""

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
from chat.analytics.metrics import person_digest, unpack_digests
from chat.analytics.models import Rollup, RollupCoverage
from chat.analytics.periods import QUARTER, Period, Span, floor_quarter
from chat.models import ChatSession, Message
from chat.tests.analytics_client import check, read
from qa.testing.concurrency import run_concurrently
from qa.testing.traffic import Traffic

pytestmark = pytest.mark.django_db

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC)
WEEK = {"from": "2026-03-01", "to": "2026-03-08"}


@pytest.fixture
def traffic(acme) -> Traffic:
    return Traffic(acme.pk, START, END, seed=7).turns(300).stored()


def find_reply(tenant, **match) -> dict:
    return Message.collection().find_one(
        {"tenant_id": tenant.pk, "role": "assistant", "status": "complete", "feedback": None, **match}
    )


def invalidate(tenant, message: dict) -> None:
    rollups.invalidate(tenant.pk, [message["created_at"].replace(tzinfo=UTC)])


def age_invalidations() -> None:
    """Make all invalidations an hour old, so that their grace period is over."""
    Rollup.collection().update_many(
        {"marked_at": {"$ne": None}}, {"$set": {"marked_at": timezone.now() - timedelta(hours=1)}}
    )


def count_stale(tenant) -> int:
    return Rollup.collection().count_documents({"tenant_id": tenant.pk, "kind": "quarter", "fresh": False})


def count_days(tenant) -> int:
    return Rollup.collection().count_documents({"tenant_id": tenant.pk, "kind": "day", "fresh": True})


@pytest.mark.timeout(20, func_only=True)  # Without the set-up of the database, which may take longer.
def test_coverage_continues_after_a_worker_died_before_its_first_step(site, acme, traffic):
    """The worker had stored where coverage begins, and nothing else."""
    RollupCoverage.objects.create(tenant=acme, since=START, until=START)

    check(read(site, acme, **WEEK), acme)

    assert rollups.coverage(acme.pk) == Span(START, END)


def test_a_rolled_up_period_is_read_without_messages(site, acme, traffic):
    before = read(site, acme, **WEEK)
    Message.collection().delete_many({})
    ChatSession.collection().delete_many({})

    assert read(site, acme, **WEEK) == before
    assert before["totals"]["messages"] == 300


def test_days_are_stored_once_for_each_zone(site, acme, traffic):
    read(site, acme, **WEEK)
    assert count_days(acme) == 7
    read(site, acme, **WEEK)
    assert count_days(acme) == 7
    read(site, acme, **WEEK, tz="Asia/Kolkata")
    assert count_days(acme) == 14


def test_months_and_weeks_include_late_changes(site, acme, traffic):
    quarter_of_a_year = {"from": "2026-01-01", "to": "2026-04-01"}
    for interval in ("week", "month", "day"):
        before = read(site, acme, **quarter_of_a_year, interval=interval)
        reply = find_reply(acme)
        invalidate(acme, reply)
        Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})
        after = read(site, acme, **quarter_of_a_year, interval=interval)
        assert after["totals"]["feedback"]["up"] == before["totals"]["feedback"]["up"] + 1
        check(after, acme)
        age_invalidations()
        check(read(site, acme, **quarter_of_a_year, interval=interval), acme)
        check(read(site, acme, **quarter_of_a_year, interval=interval), acme)
    stored = Rollup.collection().count_documents({"kind": {"$in": ["week", "month"]}, "fresh": True})
    assert stored > 0


def test_a_month_is_not_stored_if_a_day_is_invalidated_while_it_is_summed(site, acme, traffic):
    """A placeholder is inserted and the days are read, then one of them is invalidated."""
    february_and_march = Period(
        Span(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)), "day", ZoneInfo("UTC")
    )
    rollups.refresh(acme.pk, february_and_march)
    Rollup.collection().delete_many({"kind": "month"})
    months = february_and_march.full_intervals("month")
    placeholders = calendar_rollups._insert_placeholders(acme.pk, "month", months)
    sums = dict(calendar_rollups._sum_days(acme.pk, months, ZoneInfo("UTC")))
    reply = find_reply(acme)
    invalidate(acme, reply)
    for month, metrics in sums.items():
        completion = {"$set": calendar_rollups._completion(metrics)}
        Rollup.collection().update_one({"_id": placeholders[month]}, completion)
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})

    check(read(site, acme, **{"from": "2026-02-01", "to": "2026-04-01"}), acme)


def test_deleted_rollups_are_built_again(site, acme, traffic):
    before = read(site, acme, **WEEK)
    Rollup.collection().delete_many({})
    RollupCoverage.collection().delete_many({})

    assert read(site, acme, **WEEK) == before


def test_coverage_grows_in_both_directions_without_a_gap(site, acme, traffic):
    for start, end in (
        ("2026-03-04", "2026-03-05"),
        ("2026-03-07", "2026-03-08"),
        ("2026-03-01", "2026-03-02"),
    ):
        check(read(site, acme, **{"from": start, "to": end}), acme)

    check(read(site, acme, **WEEK), acme)
    assert rollups.coverage(acme.pk).end == END


def test_late_feedback_is_counted_at_once(site, acme, traffic):
    before = read(site, acme, **WEEK)
    reply = find_reply(acme)
    invalidate(acme, reply)
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})

    after = read(site, acme, **WEEK)
    assert after["totals"]["feedback"]["up"] == before["totals"]["feedback"]["up"] + 1
    check(after, acme)


def test_an_invalidated_quarter_hour_is_rolled_up_after_the_grace_period(site, acme, traffic):
    read(site, acme, **WEEK)
    reply = find_reply(acme)
    invalidate(acme, reply)
    read(site, acme, **WEEK)  # Does not roll up that quarter hour: the change may not have happened yet.
    assert count_stale(acme) == 1
    assert count_days(acme) == 6
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "down"}}})
    check(read(site, acme, **WEEK), acme)

    age_invalidations()
    check(read(site, acme, **WEEK), acme)
    assert count_stale(acme) == 0
    assert count_days(acme) == 7
    check(read(site, acme, **WEEK), acme)


def test_a_retried_reply_is_counted_again_once_it_is_final(site, acme, traffic):
    before = read(site, acme, **WEEK)["totals"]
    reply = find_reply(acme)
    invalidate(acme, reply)
    age_invalidations()
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"status": "streaming"}})
    running = read(site, acme, **WEEK)
    assert running["totals"]["replies"]["complete"] == before["replies"]["complete"] - 1
    check(running, acme)
    assert count_stale(acme) == 1  # Until the reply is final, however old the invalidation is.

    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"status": "cancelled"}})
    ended = read(site, acme, **WEEK)
    assert ended["totals"]["replies"]["cancelled"] == before["replies"]["cancelled"] + 1
    check(ended, acme)
    assert count_stale(acme) == 0


def test_a_quarter_hour_stays_stale_while_a_reply_in_it_is_running(site, acme):
    Traffic(acme.pk, START, END, seed=8).turns(60, running=0.5).stored()
    check(read(site, acme, **WEEK), acme)
    assert count_stale(acme) > 0

    Message.collection().update_many({"status": "streaming"}, {"$set": {"status": "complete"}})
    check(read(site, acme, **WEEK), acme)
    assert count_stale(acme) == 0
    check(read(site, acme, **WEEK), acme)


def test_a_change_while_a_quarter_hour_is_counted_is_not_lost(site, acme, traffic):
    """The invalidation comes between counting and storing, so the counted metrics must not become fresh."""
    read(site, acme, **WEEK)
    reply = find_reply(acme)
    invalidate(acme, reply)
    age_invalidations()
    quarter = floor_quarter(reply["created_at"].replace(tzinfo=UTC))
    existing = {quarter: Rollup.collection().find_one({"kind": "quarter", "start": quarter})}
    counted = count_spans(acme.pk, [Span(quarter, quarter + QUARTER)])
    invalidate(acme, reply)
    Message.collection().update_one({"_id": reply["_id"]}, {"$set": {"feedback": {"rating": "up"}}})
    rollups._store(acme.pk, [quarter], existing, counted, timezone.now())

    assert count_stale(acme) == 1
    check(read(site, acme, **WEEK), acme)


def test_concurrent_first_requests_agree(site, acme, traffic):
    def request() -> dict:
        try:
            return read(site, acme, **WEEK)
        finally:
            connection.close()

    answers = run_concurrently(*[request] * 4)

    check(answers[0], acme)
    assert answers == [answers[0]] * 4
    assert Rollup.collection().count_documents({"kind": "day"}) == 7
    check(read(site, acme, **WEEK), acme)


def test_responses_stay_equal_while_messages_are_deleted(site, acme, traffic):
    before = read(site, acme, **WEEK)
    over, seen = Event(), []

    def compare() -> None:
        while not over.is_set():
            seen.append(read(site, acme, **WEEK) == before)
        connection.close()

    reader = Thread(target=compare)
    reader.start()
    for session in traffic.sessions[:20]:
        delete_sessions(acme.pk, [session["_id"]])
    over.set()
    reader.join()

    assert seen
    assert all(seen)


def test_the_latest_messages_are_counted(site, acme):
    now = timezone.now()
    Traffic(acme.pk, now - timedelta(hours=3), now - timedelta(milliseconds=1), seed=9).turns(100).stored()
    today = read(site, acme)
    check(today, acme)
    Traffic(acme.pk, now - timedelta(minutes=2), now - timedelta(milliseconds=1), seed=10).turns(5).stored()
    check(read(site, acme), acme)
    assert rollups.coverage(acme.pk).end <= now - timedelta(minutes=5)


def test_deleted_messages_stay_in_the_metrics(site, acme, traffic):
    before = read(site, acme, **WEEK)
    some = [message["_id"] for message in traffic.messages[::3]]
    assert delete_messages(acme.pk, some) == len(some)
    assert delete_messages(acme.pk, some) == 0
    assert read(site, acme, **WEEK) == before

    age_invalidations()
    assert read(site, acme, **WEEK) == before
    assert count_stale(acme) == 0


def test_messages_deleted_before_the_first_request_stay_in_the_metrics(site, acme, umbrella, traffic):
    Traffic(umbrella.pk, START, END, seed=11).turns(20).stored()
    expected = read(site, acme, **WEEK)
    Rollup.collection().delete_many({})
    RollupCoverage.collection().delete_many({})

    deleted = delete_sessions(acme.pk, [session["_id"] for session in traffic.sessions])

    assert (deleted.sessions, deleted.messages) == (len(traffic.sessions), 600)
    assert Message.collection().count_documents({}) == 40
    assert read(site, acme, **WEEK) == expected
    assert read(site, acme, **WEEK, interval="hour")["totals"] == expected["totals"]


def test_messages_of_another_tenant_are_not_deleted(acme, umbrella, traffic):
    ids = [message["_id"] for message in traffic.messages]
    sessions = [session["_id"] for session in traffic.sessions]

    assert delete_messages(umbrella.pk, ids) == 0
    assert delete_sessions(umbrella.pk, sessions).sessions == 0
    assert Message.collection().count_documents({}) == 600


def test_an_anonymized_visitor_stays_in_the_counts_without_the_digest(site, acme, traffic):
    before = read(site, acme, **WEEK)
    visitor = "visitor-3"
    of_visitor = [session["_id"] for session in traffic.sessions if session["visitor"] == visitor]
    assert of_visitor
    delete_sessions(acme.pk, of_visitor)
    anonymize_person(acme.pk, "visitor", visitor)

    assert read(site, acme, **WEEK)["series"][0]["active"] == before["series"][0]["active"]
    stored = [
        unpack_digests(row[column]["visitors"])
        for row in Rollup.collection().find()
        for column in ("live", "kept")
        if row[column]
    ]
    assert stored
    assert not [digests for digests in stored if person_digest(acme.pk, "visitor", visitor) in digests]


def test_the_command_rolls_up_everything_that_is_over(site, acme, traffic, capsys):
    call_command("rollup_analytics")

    assert rollups.coverage(acme.pk).start <= START
    assert count_days(acme) >= 7
    assert str(acme.pk) in capsys.readouterr().out


def test_verify_finds_and_repairs_changes_without_invalidation(site, acme, traffic):
    read(site, acme, **WEEK)
    call_command("rollup_analytics", "--verify")
    Message.collection().update_one({"_id": find_reply(acme)["_id"]}, {"$set": {"input_tokens": 10**6}})

    with pytest.raises(CommandError, match="1 quarter hours differed"):
        call_command("rollup_analytics", "--verify", "--tenant", str(acme.pk))

    check(read(site, acme, **WEEK), acme)
    call_command("rollup_analytics", "--verify")


@pytest.mark.parametrize("arguments", [["--tenant", "none"], ["--tenant", "0" * 24], ["--tz", "Mars"]])
def test_the_command_rejects_unknown_arguments(acme, arguments):
    with pytest.raises(CommandError):
        call_command("rollup_analytics", *arguments)


def test_all_queries_use_indexes(site, acme, traffic, commands):
    with commands.recording() as recording:
        for interval in ("hour", "day", "week"):
            read(site, acme, **WEEK, interval=interval)
        read(site, acme, **{"from": "2026-02-01", "to": "2026-04-01"})
        invalidate(acme, find_reply(acme))
        read(site, acme, **{"from": "2026-03-01T00:07", "to": "2026-03-08"})
        delete_sessions(acme.pk, [traffic.sessions[0]["_id"]])

    relevant = [command for command in recording.commands if "chat_" in str(command)]
    assert len(relevant) > 30
    assert recording.slow_queries(connection.database) == []
