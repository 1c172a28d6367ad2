"""Turns and sessions: whose they are, whose limits they count against, what settling them touches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId
from django.utils import timezone

from chat.models import ChatSession, Message
from qa.isolation.canaries import owners_in
from qa.isolation.matrix import Matrix
from qa.isolation.probes.probe import probe, shows_nothing_of, status
from qa.isolation.snapshot import wait_until_settled
from qa.isolation.world import MAX_INPUT_CHARS
from tenants.billing.limits import month_of
from tenants.billing.usage import Admission
from tenants.models import Usage


@probe
def a_key_opens_sessions_of_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    for name in ("sk", "pk", "sk of another tenant"):
        answer = matrix.request("POST", "/api/chat/sessions", matrix.world[name], body={})
        yield from status(answer, 201, f"that of {name}")
        tenant = matrix.world.own(matrix.world[name]).tenant
        if answer.status == 201 and answer.json()["tenant_id"] != str(tenant.pk):
            yield f"{name} opens one elsewhere"


@probe
def one_call_chats_in_a_session_of_its_own(matrix: Matrix) -> Iterator[str]:
    for name in ("sk", "pk"):
        answer = matrix.request("POST", "/api/chat", matrix.world[name], body={"message": "Hi"})
        yield from status(answer, 200, f"that of {name}")
        yield from shows_nothing_of(answer, "umbrella", name)
        session = ChatSession.objects.filter(pk=answer.json().get("session_id")).first()
        if session is None or session.tenant_id != matrix.world.acme.tenant.pk:
            yield f"{name} is not told of a session of its own"
        wait_until_settled()
        if touched := matrix.touched_beside(matrix.world.acme.tenant.pk):
            yield f"settling that of {name} changed {touched}"
        if told := owners_in(str(matrix.sent())) - {"acme"}:
            yield f"the provider is told what is of {told}"


@probe
def a_refused_call_leaves_no_session(matrix: Matrix) -> Iterator[str]:
    before = ChatSession.objects.count()
    answer = matrix.request(
        "POST", "/api/chat", matrix.world["sk"], body={"message": "x" * (MAX_INPUT_CHARS + 1)}
    )
    yield from status(answer, 400, "too long a message")
    if ChatSession.objects.count() != before:
        yield "it leaves one"


@probe
def settling_a_turn_leaves_other_tenants_use_alone(matrix: Matrix) -> Iterator[str]:
    """Even if another held a reservation of the same number, as none of ours has."""
    reply = matrix.world.acme.reply
    _hold_in_both(matrix, reply.reservation)
    Message.objects.filter(pk=reply.pk).update(settled=False)
    path = f"/api/chat/sessions/{reply.session_id}/messages/{reply.pk}/retry"
    yield from status(matrix.request("POST", path, matrix.world["admin"], body={}), 200, "a retry")
    if str(reply.reservation) not in _reservations(matrix.world.umbrella.tenant.pk):
        yield "Umbrella's reservation is gone"


@probe
def renewing_a_turn_leaves_other_tenants_use_alone(matrix: Matrix) -> Iterator[str]:
    """The same; what renews is in the background, where no request shows it."""
    same = ObjectId()
    until = _hold_in_both(matrix, same)
    Usage.objects.renew(matrix.world.acme.tenant.pk, same, lease_seconds=600)
    if _reservations(matrix.world.umbrella.tenant.pk)[str(same)]["until"] != until:
        yield "Umbrella's is renewed"


@probe
def a_further_call_of_a_turn_is_reserved_for_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    """The same; only a call that failed comes there."""
    same, acme = ObjectId(), matrix.world.acme.tenant
    _hold_in_both(matrix, same)
    admission = Admission(same, month_of(timezone.now()), minute=Usage.objects.of(acme).limit_usages()[0])
    Usage.objects.extend(acme, admission, tokens=7, cost=Decimal(0))
    held = [_reservations(each)[str(same)]["tokens"] for each in (acme.pk, matrix.world.umbrella.tenant.pk)]
    if held != [7, 0]:
        yield f"Acme and Umbrella hold {held}"


@probe
def a_lost_reply_is_numbered_in_its_own_session(matrix: Matrix) -> Iterator[str]:
    """A question whose reply was never stored, asked again: the number after it comes from nowhere else."""
    Message.objects.filter(pk=matrix.world.umbrella.reply.pk).update(seq=1000)
    path = f"/api/chat/sessions/{matrix.world.acme.session.pk}/messages"
    ask = {"body": {"message": "Hi"}, "HTTP_IDEMPOTENCY_KEY": "a-key"}
    first = matrix.request("POST", path, matrix.world["admin"], **ask)
    yield from status(first, 201, "a question")
    wait_until_settled()
    lost = Message.objects.get(pk=first.json()["reply"]["id"])
    lost.delete()
    again = matrix.request("POST", path, matrix.world["admin"], **ask)
    yield from status(again, 201, "the question again")
    seq = Message.objects.get(pk=again.json()["reply"]["id"]).seq
    if seq != lost.seq:
        yield f"its reply is number {seq} instead of {lost.seq}"


def _hold_in_both(matrix: Matrix, number: ObjectId) -> Any:
    """Reserve under the same number for Umbrella and Acme; return until when, as the database has it."""
    month = month_of(timezone.now())
    held = {"until": timezone.now() + timedelta(minutes=1), "month": month, "tokens": 0, "cost": 0}
    for tenant in (matrix.world.umbrella.tenant, matrix.world.acme.tenant):
        Usage.objects.of(tenant)
        Usage.collection().update_one({"_id": tenant.pk}, {"$set": {f"reservations.{number}": held}})
    return _reservations(matrix.world.umbrella.tenant.pk)[str(number)]["until"]


def _reservations(tenant_id: ObjectId) -> dict[str, Any]:
    return Usage.collection().find_one({"_id": tenant_id})["reservations"]
