"""What the analytics endpoint takes, refuses, and to whom it answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from chat.tests.analytics_client import ask, path
from qa.testing.tenants import issue, problem, signed_in, with_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("asked", "field", "hint"),
    [
        ({"from": "yesterday"}, "from", "2026-11-01"),
        ({"to": "2026-13-01"}, "to", "2026-11-01"),
        ({"from": ""}, "from", "blank"),
        ({"from": "1999-12-31"}, "from", "2000"),
        ({"to": "9999-12-31T23:59:59Z"}, "to", "2100"),
        ({"from": "2026-02-01", "to": "2026-02-01"}, "to", "end after"),
        ({"from": "2026-02-01T10:00:00 02:00", "to": "2026-03-01"}, "from", "%2B"),
        ({"interval": "minute"}, "interval", "valid choice"),
        ({"interval": "$where"}, "interval", "valid choice"),
        ({"tz": "Mars/Olympus"}, "tz", "Europe/Berlin"),
        ({"tz": "../../etc/passwd"}, "tz", "Europe/Berlin"),
        ({"tz": "Europe"}, "tz", "Europe/Berlin"),
        ({"tz": "U\0TC"}, "tz", "no such time zone"),
        ({"from": "2026-01-01", "to": "2026-03-01", "interval": "hour"}, "interval", "shorter period"),
        ({"from": "2000-01-01", "to": "2100-01-01", "interval": "month"}, "interval", "1000"),
        ({"since": "2026-01-01"}, "since", "no such field"),
    ],
)
def test_bad_requests_say_what_to_change(site, acme, asked, field, hint):
    response = site.get(path(acme), asked)

    assert problem(response, 400) == "invalid"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert hint in error["detail"]


def test_by_default_the_last_thirty_days_are_told_by_day_in_utc(site, acme):
    with time_machine.travel(datetime(2026, 4, 2, 9, 30, tzinfo=UTC), tick=False):
        answer = ask(site, acme)

    assert (answer["from"], answer["to"]) == ("2026-03-04T00:00:00Z", "2026-04-02T09:30:00Z")
    assert (answer["interval"], answer["tz"]) == ("day", "UTC")
    assert len(answer["series"]) == 30


def test_nothing_is_told_as_zeros_and_nulls(site, acme):
    [day] = ask(site, acme, **{"from": "2026-03-01", "to": "2026-03-02"})["series"]

    assert day["messages"] == day["sessions"] == 0
    assert day["cost"] == {
        "currency": "USD",
        **dict.fromkeys(("total", "reported", "priced", "estimated"), "0"),
        "unpriced": 0,
    }
    assert day["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def starts(answer) -> list[str]:
    return [interval["start"] for interval in answer["series"]]


def test_the_day_on_which_the_clock_is_put_forward_has_23_hours(site, acme):
    asked = {"from": "2026-03-29", "to": "2026-03-30", "tz": "Europe/Berlin"}

    assert starts(ask(site, acme, **asked)) == ["2026-03-28T23:00:00Z"]
    assert ask(site, acme, **asked)["to"] == "2026-03-29T22:00:00Z"
    assert len(ask(site, acme, **asked, interval="hour")["series"]) == 23


def test_the_day_on_which_the_clock_is_put_back_has_25_hours(site, acme):
    asked = {"from": "2026-10-25", "to": "2026-10-26", "tz": "Europe/Berlin", "interval": "hour"}

    assert len(starts(ask(site, acme, **asked))) == 25


def test_an_hour_ends_where_the_clock_is_changed_within_it(site, acme):
    asked = {"from": "2026-04-05T03:00", "to": "2026-04-05T05:00", "tz": "Pacific/Chatham"}

    # 3:45 becomes 2:45.
    assert starts(ask(site, acme, **asked, interval="hour")) == [
        "2026-04-04T13:15:00Z",
        "2026-04-04T14:00:00Z",
        "2026-04-04T14:15:00Z",
        "2026-04-04T15:15:00Z",
    ]


def test_a_day_begins_with_its_first_moment_where_it_has_no_midnight(site, acme):
    asked = {"from": "2026-09-05", "to": "2026-09-08", "tz": "America/Santiago"}

    assert starts(ask(site, acme, **asked)) == [
        "2026-09-05T04:00:00Z",
        "2026-09-06T04:00:00Z",
        "2026-09-07T03:00:00Z",
    ]


def test_weeks_begin_on_monday_and_months_on_the_first(site, acme):
    asked = {"from": "2026-01-15", "to": "2026-03-10", "tz": "Asia/Kolkata"}

    assert starts(ask(site, acme, **asked, interval="month")) == [
        "2026-01-14T18:30:00Z",
        "2026-01-31T18:30:00Z",
        "2026-02-28T18:30:00Z",
    ]
    assert starts(ask(site, acme, **asked, interval="week"))[1] == "2026-01-18T18:30:00Z"


def test_a_failover_counts_against_the_provider_that_was_left(site, acme):
    attempts = [
        ("groq", "timeout", 1),
        ("groq", "timeout", 1),
        ("gemini", "overloaded", 1),
        ("groq", "ok", 2),
    ]
    session = ChatSession.objects.create(tenant=acme, visitor="v")
    Message.objects.create(
        session=session,
        tenant=acme,
        seq=1,
        role="assistant",
        provider="groq",
        model="m",
        attempts=[
            {"provider": provider, "model": "m", "target": f"{provider}/m", "outcome": outcome, "run": run}
            | {"cost": None, "cost_basis": "unpriced"}
            for provider, outcome, run in attempts
        ],
    )

    totals = ask(site, acme)["totals"]
    told = {each["provider"]: each["attempts"] for each in totals["providers"]}
    # Not between two of the same target, and not from one run to the next.
    assert (told["groq"]["failovers"], told["gemini"]["failovers"]) == (1, 0)
    assert (told["groq"]["errors"], told["gemini"]["errors"]) == ({"timeout": 2}, {"overloaded": 1})
    assert totals["attempts"]["count"] == 4


# -- access --------------------------------------------------------------------


def test_every_member_may_read_analytics(acme, alice, dave, bob):
    for user in (alice, dave, bob):
        assert signed_in(user).get(path(acme)).status_code == 200


def test_a_key_needs_the_scope(acme, alice):
    assert with_key(issue(acme, alice, scopes=["analytics:read"]).secret).get(path(acme)).status_code == 200
    for scopes in ([], ["usage:read", "sessions:read"]):
        assert problem(with_key(issue(acme, alice, scopes=scopes).secret).get(path(acme)), 403)


def test_public_keys_may_not(acme, public_key):
    client = with_key(public_key.secret, HTTP_ORIGIN="https://shop.example")
    assert problem(client.get(path(acme)), 403)


def test_strangers_find_nothing(acme, umbrella, mallory, site):
    assert problem(signed_in(mallory).get(path(acme)), 404)
    assert problem(site.get(path(umbrella)), 404)
    assert problem(site.get("/api/chat/tenants/no-id/analytics"), 404)
    assert problem(APIClient().get(path(acme)), 401)


def test_only_the_own_tenant_is_counted(site, acme, umbrella):
    session = ChatSession.objects.create(tenant=umbrella, visitor="v")
    Message.objects.create(session=session, tenant=umbrella, seq=1, role="user", content="?")

    assert ask(site, acme)["totals"]["messages"] == 0
