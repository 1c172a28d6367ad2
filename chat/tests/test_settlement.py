"""Settlement of many runs does not depend on one: that one is set aside, the others are settled."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from bson import Decimal128, Int64, ObjectId
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat.models import Message
from chat.turns import FinishedRun, replies, settlement
from core.jobs import set_aside
from core.jobs.models import SetAside
from qa.testing.chat import messages, settled_usage
from qa.testing.tenants import limited
from tenants.models import LedgerEntry, Usage

HUGE = Int64(9 * 10**18)


def attempt(**fields):
    return {
        "run": 1, "target": "groq/m", "provider": "groq", "model": "m", "outcome": "ok", "reason": "",
        "input_tokens": 5, "output_tokens": 2, "cost": "0.001", "cost_basis": "priced", **fields,
    }  # fmt: skip


def admit(tenant) -> tuple[ObjectId, str]:
    reservation_id = ObjectId()
    admission = Usage.objects.admit(
        tenant, reservation_id=reservation_id, tokens=10, cost=Decimal(0), lease_seconds=600
    )
    return reservation_id, admission.month


def stored(session, **fields) -> ObjectId:
    """Store an ended reply that is not settled, a while ago, as an earlier version may have left it."""
    reservation_id, month = admit(session.tenant)
    then = timezone.now() - timedelta(minutes=1)
    question = Message.objects.create(
        session=session, tenant=session.tenant, seq=Message.objects.count() + 1, role="user", content="Hello"
    )
    reply = Message.objects.create(
        session=session, tenant=session.tenant, seq=question.seq + 1, role="assistant", content="Hi",
        status="complete", in_reply_to=question, settled=True, reservation=reservation_id, month=month,
        finished_at=then, attempts=[attempt()],
    )  # fmt: skip
    # Only now, in one step: a sweep in the background of other tests may settle it at any moment.
    Message.collection().update_one({"_id": reply.pk}, {"$set": {"settled": False, **fields}})
    return reply.pk


POISON = {
    "counts whose sum is no integer of the database": {
        "attempts": [attempt(input_tokens=HUGE, output_tokens=HUGE)]
    },
    "a cost that is no number": {"attempts": [attempt(cost="much")]},
    "a cost that is an object": {"attempts": [attempt(cost={"usd": 1})]},
    "attempts that are a text": {"attempts": "none"},
    "an attempt without provider": {"attempts": [{"run": 1}]},
    "no time of creation": {"created_at": "yesterday"},
    "a month that is an object": {"month": {"$year": 1}},
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_one_reply_that_cannot_be_settled_is_set_aside_and_the_others_are_settled(session, umbrella, poison):
    bad, good = stored(session, **poison), [stored(session) for _ in range(2)]

    settlement.sweep()
    settlement.sweep()

    assert LedgerEntry.objects.filter(reply__in=good).count() == 2
    assert not Message.objects.filter(pk__in=good, settled=False).exists()
    record = SetAside.objects.get(member__startswith=str(bad))
    assert (record.attempts, record.tenant_id) == (1, session.tenant_id)
    assert record.due_at > timezone.now()
    assert record.reason
    shown = StringIO()
    with pytest.raises(CommandError, match="1 runs are set aside"):
        call_command("verify_ledger", stdout=shown)
    assert str(bad) in shown.getvalue()


def test_a_cost_of_forty_digits_that_is_stored_already_is_settled(session):
    reply = stored(session, attempts=[attempt(cost="0.00001234567890123456789012345678901234567890")])
    settlement.sweep()
    assert LedgerEntry.collection().find_one({"reply": reply})["cost"] == Decimal128("0.0000123457")


def test_a_reply_that_is_set_aside_is_settled_when_it_can_be(session):
    reply = stored(session, attempts=[attempt(cost="much")])
    settlement.sweep()
    Message.collection().update_one({"_id": reply}, {"$set": {"attempts.0.cost": "0.5"}})
    settlement.sweep()
    assert not LedgerEntry.objects.exists(), "it is not due"

    SetAside.collection().update_many({}, {"$set": {"due_at": timezone.now()}})
    settlement.sweep()

    assert LedgerEntry.objects.get(reply=reply).cost == 0.5
    assert not SetAside.objects.exists()


def test_the_delay_grows_with_each_failure(session):
    stored(session, attempts=[attempt(cost="much")])
    delays = []
    for _ in range(3):
        settlement.sweep()
        record = SetAside.objects.get()
        delays.append(round((record.due_at - record.updated_at).total_seconds()))
        SetAside.collection().update_many({}, {"$set": {"due_at": timezone.now()}})
    assert delays == [30, 60, 120]
    assert SetAside.objects.get().attempts == 3


def test_a_turn_that_is_set_aside_does_not_count_as_running(session, acme):
    limited(acme, concurrent_turns=1)
    session.tenant.refresh_from_db()
    stored(session, attempts=[attempt(cost="much")])
    settlement.sweep()
    assert Usage.objects.of(acme).running_turns == 0
    admit(acme)


def run_of(tenant, **fields) -> FinishedRun:
    reservation_id, month = admit(tenant)
    return FinishedRun(
        tenant_id=tenant.pk, reservation_id=reservation_id, reply_id=reservation_id, month=month,
        status="complete", has_text=True, attempts=[attempt(**fields)], api_key=None,
    )  # fmt: skip


def test_one_run_of_a_gathered_batch_that_is_not_stored_spoils_no_other(acme, umbrella, monkeypatch):
    good, bad = [run_of(umbrella) for _ in range(5)], run_of(acme, cost="much")
    before = set_aside.failures.labels(replies.SETTLEMENT)._value.get()
    for run in [*good[:2], bad, *good[2:]]:
        settlement.settle_soon(run)
    settlement.finish(60)

    assert LedgerEntry.objects.filter(tenant=umbrella).count() == 5
    assert Usage.objects.of(umbrella).live == 0
    assert set_aside.failures.labels(replies.SETTLEMENT)._value.get() == before + 1
    assert SetAside.objects.get().member == bad.key
    assert Usage.objects.of(acme).running_turns == 0
    bad.attempts[0]["cost"] = "0.25"
    monkeypatch.setitem(settlement._kept, bad.key, (timezone.now(), bad))
    settlement._settle_queue()
    assert LedgerEntry.objects.get(tenant=acme).cost == 0.25
    assert not SetAside.objects.exists()
    assert not settlement._kept


def test_an_expired_reservation_that_cannot_be_released_spoils_no_other(acme, umbrella):
    for tenant in (acme, umbrella):
        Usage.objects.admit(tenant, reservation_id=ObjectId(), tokens=1, cost=Decimal(0), lease_seconds=-1)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"months": "November"}})
    settlement.sweep()
    assert Usage.objects.of(umbrella).live == 0
    assert SetAside.objects.get().tenant_id == acme.pk


@pytest.mark.parametrize("reservations", [7, "none", {"not an id": {"until": timezone.now()}}])
def test_reservations_that_cannot_be_read_spoil_no_other(acme, umbrella, reservations):
    for tenant in (acme, umbrella):
        Usage.objects.admit(tenant, reservation_id=ObjectId(), tokens=1, cost=Decimal(0), lease_seconds=-1)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"reservations": reservations}})
    settlement.sweep()
    assert Usage.objects.of(umbrella).live == 0


def test_a_running_reply_that_cannot_be_interrupted_spoils_no_other(session):
    bad, good = stored(session), stored(session)
    running = {"status": "streaming", "settled": None, "lease_until": timezone.now() - timedelta(minutes=1)}
    Message.collection().update_many({"_id": {"$in": [bad, good]}}, {"$set": running})
    Message.collection().update_one({"_id": bad}, {"$unset": {"provider": ""}})
    settlement.sweep()
    assert Message.objects.get(pk=good).status == "interrupted"
    assert SetAside.objects.get().work == replies.INTERRUPTION


def test_usage_that_cannot_be_read_is_reported(acme, umbrella):
    for tenant in (acme, umbrella):
        admit(tenant)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"months": "November"}})
    shown = StringIO()
    with pytest.raises(CommandError, match="drift"):
        call_command("verify_ledger", stdout=shown)
    assert f"tenant {acme.pk}" in shown.getvalue()
    assert f"tenant {umbrella.pk}" not in shown.getvalue()


def test_answers_without_ledger_entries_are_found(dave_client, session, fake, acme):
    dave_client.post(messages(session), {"message": "Hello"})
    settled_usage(acme)
    reply = Message.objects.get(role="assistant")
    Message.collection().update_one(
        {"_id": reply.pk}, {"$set": {"finished_at": timezone.now() - timedelta(minutes=1)}}
    )
    call_command("verify_ledger", stdout=StringIO())
    LedgerEntry.collection().delete_many({})
    Usage.collection().delete_many({})
    shown = StringIO()
    with pytest.raises(CommandError, match="1 answers are not in the ledger"):
        call_command("verify_ledger", stdout=shown)
    assert f"reply {reply.pk}: 0 of 1 calls" in shown.getvalue()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"$set": {"attempts.0.cost": "0.25"}}, "1 of 1 calls are in the ledger, with 0.001 of 0.25 USD"),
        ({"$push": {"attempts": attempt()}}, "1 of 2 calls are in the ledger, with 0.001 of 0.002 USD"),
        ({"$set": {"attempts.0.cost": "0.0010000000400"}}, None),
        ({"$set": {"content": "Something else"}}, None),
    ],
)
def test_the_ledger_is_compared_with_the_calls_and_the_cost_of_answers(session, change, shown):
    reply = stored(session)
    settlement.sweep()
    Message.collection().update_one({"_id": reply}, change)
    out = StringIO()
    if shown is None:
        call_command("verify_ledger", stdout=out)
        assert out.getvalue() == "drift: 0\n"
    else:
        with pytest.raises(CommandError, match="1 answers are not in the ledger as they are"):
            call_command("verify_ledger", stdout=out)
        assert f"reply {reply}: {shown}" in out.getvalue()


def test_the_runs_of_a_reply_are_bounded(session, dave_client, fake):
    reply = stored(session, status="failed", run=replies.MAX_RUNS, settled=True)
    response = dave_client.post(f"{messages(session)}/{reply}/retry")
    assert response.status_code == 409
    assert fake.log() == []
