"""The ledger and the usage counters: drift is found and repaired, and turns never cause it."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from core.errors import LimitReached
from core.mongo.append_only import AppendOnlyError
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import limited
from tenants.billing.limits import usd
from tenants.models import LedgerEntry, Usage

NOW = datetime(2100, 11, 22, 12, tzinfo=UTC)


def turn(tenant, *, tokens=10, cost="0.1", reservation=None, now=NOW):
    """A complete turn: admitted, recorded in the ledger, settled."""
    reservation = reservation or ObjectId()
    admission = Usage.objects.admit(
        tenant, reservation_id=reservation, tokens=tokens, cost=Decimal(cost), lease_seconds=30, now=now
    )
    record(tenant, admission, tokens=tokens, cost=Decimal(cost))
    Usage.objects.settle(tenant.pk, reservation, tokens=tokens, cost=Decimal(cost))
    return admission


def record(tenant, admission, *, tokens, cost, messages=1, attempt=1):
    return LedgerEntry.objects.create(
        tenant=tenant,
        month=admission.month,
        reply=admission.reservation_id,
        attempt=attempt,
        provider="groq",
        model="m",
        outcome="complete",
        messages=messages,
        tokens=tokens,
        cost=cost,
    )


def verify(*options) -> str:
    out = StringIO()
    call_command("verify_ledger", *options, stdout=out)
    return out.getvalue()


def test_turns_cause_no_drift(acme, umbrella):
    turn(acme)
    turn(acme, now=datetime(2100, 12, 1, tzinfo=UTC))
    turn(umbrella, cost="0.0123456789")

    assert verify() == "drift: 0\n"


def test_a_running_turn_is_not_drift(acme):
    Usage.objects.admit(acme, reservation_id=ObjectId(), tokens=5, cost=Decimal(1), lease_seconds=30)

    assert verify() == "drift: 0\n"


def test_failed_attempts_and_unknown_prices_are_recorded_and_count_nothing(acme):
    reservation = ObjectId()
    admission = Usage.objects.admit(
        acme, reservation_id=reservation, tokens=5, cost=Decimal(0), lease_seconds=30
    )
    record(acme, admission, tokens=0, cost=None, messages=0)
    record(acme, admission, tokens=5, cost=None, attempt=2)
    Usage.objects.settle(acme.pk, reservation, tokens=5, cost=None)

    assert verify() == "drift: 0\n"


def test_drift_is_reported_and_fails_the_command(acme):
    turn(acme)
    Usage.collection().update_one({"_id": acme.pk}, {"$inc": {"months.2100-11.tokens": 3}})

    with pytest.raises(CommandError, match="1 counters differ"):
        verify()
    (drift,) = LedgerEntry.objects.drift()
    assert (drift.counter, drift.counted, drift.expected) == ("tokens", 13, 10)


def test_an_entry_that_was_never_settled_is_drift(acme):
    admission = Usage.objects.admit(
        acme, reservation_id=ObjectId(), tokens=5, cost=Decimal(1), lease_seconds=30
    )
    Usage.objects.release(acme.pk, admission.reservation_id)
    record(acme, admission, tokens=5, cost=Decimal(1))

    assert {drift.counter for drift in LedgerEntry.objects.drift()} == {"messages", "tokens", "cost"}


def test_repair_sets_the_counters_to_the_ledger(acme):
    turn(acme)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"months": {}}})

    assert verify("--repair").endswith("drift: 0\n")
    turn(acme)
    assert verify() == "drift: 0\n"


def test_a_tenant_with_running_turns_is_not_repaired(acme):
    turn(acme)
    Usage.objects.admit(acme, reservation_id=ObjectId(), tokens=5, cost=Decimal(1), lease_seconds=30, now=NOW)
    Usage.collection().update_one({"_id": acme.pk}, {"$inc": {"months.2100-11.tokens": 3}})

    with pytest.raises(CommandError):
        verify("--repair")
    assert not LedgerEntry.objects.rebuild(acme.pk)


def test_an_attempt_is_recorded_once(acme):
    admission = turn(acme)

    with pytest.raises(IntegrityError):
        record(acme, admission, tokens=10, cost=Decimal("0.1"))
    record(acme, admission, tokens=0, cost=None, messages=0, attempt=2)


def test_entries_can_not_be_changed_or_deleted(acme):
    turn(acme)
    entry = LedgerEntry.objects.get()

    for change in (entry.save, entry.delete, LedgerEntry.objects.all().delete):
        with pytest.raises(AppendOnlyError):
            change()


@pytest.mark.parametrize("seed", range(3))
def test_random_concurrent_turns_cause_no_drift(acme, seed):
    """Settled twice, released late, recorded again, refused: in eight threads at the same time."""
    limited(acme, messages_per_month=60, concurrent_turns=5, cost_per_month=Decimal("5"))
    chance = random.Random(seed)
    seeds = [chance.random() for _ in range(8)]

    def random_turns(seed) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            reservation, reserved = ObjectId(), chance.randrange(5, 50)
            try:
                admission = Usage.objects.admit(
                    acme,
                    reservation_id=reservation,
                    tokens=reserved,
                    cost=Decimal("0.09"),
                    lease_seconds=30,
                    now=NOW,
                )
            except LimitReached:
                continue
            fate = chance.choice(["settle", "settle twice", "release", "release then settle"])
            if fate.startswith("release"):
                Usage.objects.release(acme.pk, reservation)
            if fate == "release then settle":
                assert not Usage.objects.settle(acme.pk, reservation, tokens=reserved, cost=Decimal("0.09"))
            if fate.startswith("settle"):
                used, cost = chance.randrange(reserved), usd(Decimal(str(chance.random() * 0.09)))
                record(acme, admission, tokens=used, cost=cost)
                for _ in range(2 if fate == "settle twice" else 1):
                    Usage.objects.settle(acme.pk, reservation, tokens=used, cost=cost)

    outcomes = run_concurrently(*[lambda s=s: random_turns(s) for s in seeds])

    assert outcomes == [None] * 8
    assert list(LedgerEntry.objects.drift()) == []
    assert Usage.objects.of(acme).live == 0
