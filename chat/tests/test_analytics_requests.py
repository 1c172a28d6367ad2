"""The query, the response and the access of the analytics endpoint."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from chat.tests.analytics_client import path, read
from qa.testing.tenants import issue, problem, signed_in, with_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("query", "field", "hint"),
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
def test_bad_queries_are_rejected_with_a_hint(site, acme, query, field, hint):
    response = site.get(path(acme), query)

    assert problem(response, 400) == "invalid"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert hint in error["detail"]


def test_the_default_is_the_last_thirty_days_by_day_in_utc(site, acme):
    with time_machine.travel(datetime(2026, 4, 2, 9, 30, tzinfo=UTC), tick=False):
        analytics = read(site, acme)

    assert (analytics["from"], analytics["to"]) == ("2026-03-04T00:00:00Z", "2026-04-02T09:30:00Z")
    assert (analytics["interval"], analytics["tz"]) == ("day", "UTC")
    assert len(analytics["series"]) == 30


def test_an_empty_interval_has_zeros_and_nulls(site, acme):
    [day] = read(site, acme, **{"from": "2026-03-01", "to": "2026-03-02"})["series"]

    assert day["messages"] == day["sessions"] == 0
    assert day["cost"] == {
        "currency": "USD",
        **dict.fromkeys(("total", "reported", "priced", "estimated"), "0"),
        "unpriced": 0,
    }
    assert day["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def starts(analytics) -> list[str]:
    return [interval["start"] for interval in analytics["series"]]


def test_the_day_on_which_the_clock_is_put_forward_has_23_hours(site, acme):
    query = {"from": "2026-03-29", "to": "2026-03-30", "tz": "Europe/Berlin"}

    assert starts(read(site, acme, **query)) == ["2026-03-28T23:00:00Z"]
    assert read(site, acme, **query)["to"] == "2026-03-29T22:00:00Z"
    assert len(read(site, acme, **query, interval="hour")["series"]) == 23


def test_the_day_on_which_the_clock_is_put_back_has_25_hours(site, acme):
    query = {"from": "2026-10-25", "to": "2026-10-26", "tz": "Europe/Berlin", "interval": "hour"}

    assert len(starts(read(site, acme, **query))) == 25


def test_an_hour_ends_when_the_clock_is_changed_within_it(site, acme):
    query = {"from": "2026-04-05T03:00", "to": "2026-04-05T05:00", "tz": "Pacific/Chatham"}

    # 3:45 becomes 2:45.
    assert starts(read(site, acme, **query, interval="hour")) == [
        "2026-04-04T13:15:00Z",
        "2026-04-04T14:00:00Z",
        "2026-04-04T14:15:00Z",
        "2026-04-04T15:15:00Z",
    ]


def test_a_day_without_midnight_begins_with_its_first_moment(site, acme):
    query = {"from": "2026-09-05", "to": "2026-09-08", "tz": "America/Santiago"}

    assert starts(read(site, acme, **query)) == [
        "2026-09-05T04:00:00Z",
        "2026-09-06T04:00:00Z",
        "2026-09-07T03:00:00Z",
    ]


def test_weeks_begin_on_monday_and_months_on_the_first(site, acme):
    query = {"from": "2026-01-15", "to": "2026-03-10", "tz": "Asia/Kolkata"}

    assert starts(read(site, acme, **query, interval="month")) == [
        "2026-01-14T18:30:00Z",
        "2026-01-31T18:30:00Z",
        "2026-02-28T18:30:00Z",
    ]
    assert starts(read(site, acme, **query, interval="week"))[1] == "2026-01-18T18:30:00Z"


def test_a_failover_counts_for_the_provider_that_failed(site, acme):
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

    totals = read(site, acme)["totals"]
    by_provider = {each["provider"]: each["attempts"] for each in totals["providers"]}
    groq, gemini = by_provider["groq"], by_provider["gemini"]
    # A second attempt at the same target is none, and neither is the first attempt of another run.
    assert (groq["failovers"], gemini["failovers"]) == (1, 0)
    assert (groq["errors"], gemini["errors"]) == ({"timeout": 2}, {"overloaded": 1})
    assert totals["attempts"]["count"] == 4


# -- access --------------------------------------------------------------------


def test_all_members_may_read_analytics(acme, alice, dave, bob):
    for user in (alice, dave, bob):
        assert signed_in(user).get(path(acme)).status_code == 200


def test_a_key_needs_the_scope(acme, alice):
    assert with_key(issue(acme, alice, scopes=["analytics:read"]).secret).get(path(acme)).status_code == 200
    for scopes in ([], ["usage:read", "sessions:read"]):
        assert problem(with_key(issue(acme, alice, scopes=scopes).secret).get(path(acme)), 403)


def test_public_keys_may_not_read_analytics(acme, public_key):
    client = with_key(public_key.secret, HTTP_ORIGIN="https://shop.example")
    assert problem(client.get(path(acme)), 403)


def test_other_tenants_get_not_found(acme, umbrella, mallory, site):
    assert problem(signed_in(mallory).get(path(acme)), 404)
    assert problem(site.get(path(umbrella)), 404)
    assert problem(site.get("/api/chat/tenants/no-id/analytics"), 404)
    assert problem(APIClient().get(path(acme)), 401)


def test_only_the_requested_tenant_is_counted(site, acme, umbrella):
    session = ChatSession.objects.create(tenant=umbrella, visitor="v")
    Message.objects.create(session=session, tenant=umbrella, seq=1, role="user", content="?")

    assert read(site, acme)["totals"]["messages"] == 0
