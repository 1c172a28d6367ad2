"""Admission of turns: limits, reservations, extension, settlement, release."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from bson import ObjectId

from core.errors import LimitReached
from qa.testing.tenants import limited
from tenants.billing.counters import Settlement
from tenants.models import LedgerEntry, Usage

NOON = datetime(2100, 11, 22, 12, 0, 10, tzinfo=UTC)


def admit(tenant, *, tokens=10, cost="0.5", now=NOON, lease_seconds=30, reservation=None):
    return Usage.objects.admit(
        tenant,
        reservation_id=reservation or ObjectId(),
        tokens=tokens,
        cost=Decimal(cost),
        lease_seconds=lease_seconds,
        now=now,
    )


def settle(tenant, admission, *, tokens=10, cost="0.5"):
    return Usage.objects.settle(
        tenant.pk, admission.reservation_id, tokens=tokens, cost=cost and Decimal(cost)
    )


def limit_usage(tenant, name, now=NOON):
    return next(limit for limit in Usage.objects.of(tenant).limit_usages(now) if limit.name == name)


def used_and_reserved(tenant, name, now=NOON):
    return (limit_usage(tenant, name, now).used, limit_usage(tenant, name, now).reserved)


def test_a_turn_reserves_what_it_may_use(acme):
    admission = admit(acme, tokens=100, cost="0.25")

    assert admission.month == "2100-11"
    assert used_and_reserved(acme, "messages_per_month") == (0, 1)
    assert used_and_reserved(acme, "tokens_per_month") == (0, 100)
    assert used_and_reserved(acme, "cost_per_month") == (0, Decimal("0.25"))
    assert used_and_reserved(acme, "concurrent_turns") == (1, 0)


def test_settlement_replaces_the_reservation_by_the_usage(acme):
    admission = admit(acme, tokens=100, cost="0.25")

    assert settle(acme, admission, tokens=60, cost="0.1")

    assert used_and_reserved(acme, "messages_per_month") == (1, 0)
    assert used_and_reserved(acme, "tokens_per_month") == (60, 0)
    assert used_and_reserved(acme, "cost_per_month") == (Decimal("0.1"), 0)
    assert used_and_reserved(acme, "concurrent_turns") == (0, 0)


def test_a_turn_is_settled_once(acme):
    admission = admit(acme)

    assert settle(acme, admission)
    assert not settle(acme, admission)
    assert not Usage.objects.release(acme.pk, admission.reservation_id)
    assert used_and_reserved(acme, "tokens_per_month") == (10, 0)


def test_a_released_turn_has_used_nothing(acme):
    admission = admit(acme)

    assert Usage.objects.release(acme.pk, admission.reservation_id)

    assert used_and_reserved(acme, "messages_per_month") == (0, 0)
    assert used_and_reserved(acme, "tokens_per_month") == (0, 0)
    assert not settle(acme, admission)


def extend(tenant, admission, *, tokens=10, cost="0.5", now=NOON):
    return Usage.objects.extend(tenant, admission, tokens=tokens, cost=Decimal(cost), now=now)


def test_a_reservation_is_extended(acme):
    admission = admit(acme, tokens=100, cost="0.25")

    assert extend(acme, admission, tokens=20, cost="0.5")

    assert used_and_reserved(acme, "tokens_per_month") == (0, 120)
    assert used_and_reserved(acme, "cost_per_month") == (0, Decimal("0.75"))
    assert used_and_reserved(acme, "messages_per_month") == (0, 1)
    assert used_and_reserved(acme, "concurrent_turns") == (1, 0)
    assert list(LedgerEntry.objects.drift()) == []


def test_all_of_an_extended_reservation_is_settled(acme):
    admission = admit(acme, tokens=100, cost="0.25")
    extend(acme, admission, tokens=20, cost="0.5")

    assert settle(acme, admission, tokens=110, cost="0.7")

    assert used_and_reserved(acme, "tokens_per_month") == (110, 0)
    assert used_and_reserved(acme, "cost_per_month") == (Decimal("0.7"), 0)


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"tokens_per_month": 119}, "tokens_per_month"),
        ({"cost_per_month": Decimal("0.74")}, "cost_per_month"),
    ],
)
def test_an_extension_is_all_or_nothing(acme, limit, name):
    admission = admit(limited(acme, **limit), tokens=100, cost="0.25")

    with pytest.raises(LimitReached) as refused:
        extend(acme, admission, tokens=20, cost="0.5")

    assert (refused.value.usage.name, refused.value.code) == (name, "quota_exceeded")
    assert used_and_reserved(acme, "tokens_per_month") == (0, 100)
    assert used_and_reserved(acme, "cost_per_month") == (0, Decimal("0.25"))


def test_an_extension_up_to_the_limit_is_granted(acme):
    admission = admit(
        limited(acme, tokens_per_month=120, cost_per_month=Decimal("0.75")), tokens=100, cost="0.25"
    )

    assert extend(acme, admission, tokens=20, cost="0.5")


def test_an_extension_checks_only_the_limits_that_it_uses(acme):
    admission = admit(acme, tokens=100)
    limited(acme, tokens_per_month=50, requests_per_minute=1, concurrent_turns=1, messages_per_month=0)

    assert extend(acme, admission, tokens=0, cost="0.5")


def test_a_settled_reservation_is_not_extended(acme):
    admission = admit(acme)
    settle(acme, admission)

    assert not extend(acme, admission)
    assert used_and_reserved(acme, "tokens_per_month") == (10, 0)


def test_an_extension_counts_against_the_month_of_its_turn(acme):
    limited(acme, tokens_per_month=119)
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    admission = admit(acme, tokens=100, now=new_year - timedelta(seconds=5))

    assert extend(acme, admission, tokens=19, now=new_year)
    with pytest.raises(LimitReached):
        extend(acme, admission, tokens=1, now=new_year)
    assert used_and_reserved(acme, "tokens_per_month", new_year) == (0, 0)


def test_an_unknown_cost_adds_nothing(acme):
    settle(acme, admit(acme), cost=None)

    assert used_and_reserved(acme, "cost_per_month") == (0, 0)


@pytest.mark.parametrize("cost", ["-0.01", "NaN", "Infinity"])
def test_invalid_costs_are_refused(acme, cost):
    with pytest.raises(ValueError):
        admit(acme, cost=cost)


def test_a_reservation_id_is_used_once(acme):
    admission = admit(acme)

    with pytest.raises(ValueError):
        admit(acme, reservation=admission.reservation_id)
    assert used_and_reserved(acme, "messages_per_month") == (0, 1)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"requests_per_minute": 2}, "rate_limited"),
        ({"concurrent_turns": 2}, "too_many_turns"),
        ({"messages_per_month": 2}, "quota_exceeded"),
        ({"tokens_per_month": 29}, "quota_exceeded"),
        ({"cost_per_month": Decimal("1.4999999999")}, "quota_exceeded"),
    ],
)
def test_each_limit_refuses_the_turn_that_would_exceed_it(acme, limit, code):
    limited(acme, **limit)
    admit(acme)
    admit(acme)

    with pytest.raises(LimitReached) as refused:
        admit(acme)

    assert refused.value.usage.name == next(iter(limit))
    assert refused.value.code == code
    assert used_and_reserved(acme, "messages_per_month") == (0, 2)


@pytest.mark.parametrize(
    "limit",
    [
        {"requests_per_minute": 3},
        {"concurrent_turns": 3},
        {"messages_per_month": 3},
        {"tokens_per_month": 30},
        {"cost_per_month": Decimal("1.5")},
    ],
)
def test_a_limit_can_be_used_up_completely(acme, limit):
    limited(acme, **limit)

    for _ in range(3):
        admit(acme)

    assert limit_usage(acme, next(iter(limit))).remaining == 0


def test_a_plan_without_limits_admits_everything(acme):
    limited(acme)

    for _ in range(50):
        admit(acme, tokens=10**9, cost="1000000")

    assert limit_usage(acme, "tokens_per_month").remaining is None


def test_the_error_has_the_limit_its_usage_and_its_reset(acme):
    limited(acme, requests_per_minute=1)
    admit(acme)

    with pytest.raises(LimitReached) as refused:
        admit(acme, now=NOON + timedelta(seconds=20))

    assert refused.value.extra["limit"] == {
        "name": "requests_per_minute",
        "scope": "tenant",
        "limit": 1,
        "used": 1,
        "reserved": 0,
        "remaining": 0,
        "resets_at": "2100-11-22T12:01:00Z",
    }
    assert refused.value.retry_after_seconds == 30
    assert "1 requests per minute: 1 used" in refused.value.detail


def test_refused_turns_do_not_count(acme):
    limited(acme, requests_per_minute=5, concurrent_turns=1)
    first = admit(acme)
    for _ in range(10):
        with pytest.raises(LimitReached):
            admit(acme)
    settle(acme, first)

    assert admit(acme).minute.used == 2


def test_the_next_minute_starts_at_zero(acme):
    limited(acme, requests_per_minute=1)
    admit(acme, now=NOON)

    admission = admit(acme, now=NOON + timedelta(seconds=50))

    assert (admission.minute.used, admission.minute.remaining) == (1, 0)
    assert admission.minute.resets_at == datetime(2100, 11, 22, 12, 2, tzinfo=UTC)


def test_a_worker_whose_clock_is_behind_does_not_restart_the_minute(acme):
    limited(acme, requests_per_minute=1)
    admit(acme, now=NOON + timedelta(seconds=51))

    with pytest.raises(LimitReached):
        admit(acme, now=NOON + timedelta(seconds=49))


def test_a_clock_that_was_far_ahead_does_not_lock_the_tenant_out(acme):
    limited(acme, requests_per_minute=1)
    admit(acme, now=NOON + timedelta(hours=3))

    assert admit(acme, now=NOON).minute.used == 1


def test_running_turns_make_room_when_they_end(acme):
    limited(acme, concurrent_turns=1)
    first = admit(acme)
    with pytest.raises(LimitReached):
        admit(acme)

    settle(acme, first)

    admit(acme)


def test_the_month_rolls_over_at_midnight_utc(acme):
    limited(acme, messages_per_month=1)
    last = datetime(2100, 11, 30, 23, 59, 59, tzinfo=UTC)
    settle(acme, admit(acme, now=last))
    with pytest.raises(LimitReached) as refused:
        admit(acme, now=last)

    assert refused.value.usage.resets_at == datetime(2100, 12, 1, tzinfo=UTC)
    assert admit(acme, now=refused.value.usage.resets_at).month == "2100-12"


def test_a_turn_counts_in_the_month_it_was_admitted_in(acme):
    november = datetime(2100, 11, 30, 23, 59, 59, tzinfo=UTC)
    december = datetime(2100, 12, 1, 0, 0, 1, tzinfo=UTC)
    late = admit(acme, now=november)
    admit(acme, now=december)

    settle(acme, late, tokens=7)

    assert used_and_reserved(acme, "tokens_per_month", november) == (7, 0)
    assert used_and_reserved(acme, "tokens_per_month", december) == (0, 10)


def test_an_expired_lease_counts_until_it_is_released(acme):
    limited(acme, concurrent_turns=1)
    dead = admit(acme, lease_seconds=30)
    later = NOON + timedelta(seconds=31)

    with pytest.raises(LimitReached):
        admit(acme, now=later)
    assert Usage.objects.expired(later) == [(acme.pk, dead.reservation_id)]
    Usage.objects.release(acme.pk, dead.reservation_id)

    admit(acme, now=later)


def test_a_renewed_lease_is_not_expired(acme):
    admission = admit(acme, lease_seconds=30)
    later = NOON + timedelta(seconds=29)

    assert Usage.objects.renew(acme.pk, admission.reservation_id, lease_seconds=30, now=later)

    assert Usage.objects.expired(NOON + timedelta(seconds=58)) == []
    assert Usage.objects.expired(NOON + timedelta(seconds=59)) == [(acme.pk, admission.reservation_id)]


def test_a_settled_turn_can_not_be_renewed(acme):
    admission = admit(acme)
    settle(acme, admission)

    assert not Usage.objects.renew(acme.pk, admission.reservation_id, lease_seconds=30)
    assert Usage.objects.expired(NOON + timedelta(days=1)) == []


def test_many_turns_are_settled_in_one_call(acme, umbrella):
    turns = [(tenant, admit(tenant)) for tenant in (acme, acme, umbrella)]
    settlements = [Settlement(tenant.pk, turn.reservation_id, 5, Decimal("0.1")) for tenant, turn in turns]

    assert Usage.objects.settle_many([*settlements, settlements[0]]) == 3
    assert Usage.objects.settle_many(settlements) == 0
    assert used_and_reserved(acme, "tokens_per_month") == (10, 0)
    assert used_and_reserved(umbrella, "cost_per_month") == (Decimal("0.1"), 0)


def test_tenants_do_not_share_limits(acme, umbrella):
    limited(acme, messages_per_month=1)
    umbrella.plan = acme.plan
    admit(acme)

    admit(umbrella)

    assert used_and_reserved(acme, "messages_per_month") == (0, 1)
