"""Turns and sessions: their tenant, the limits they count against, and what their settlement changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId, encode
from django.utils import timezone

from chat.kept_data import COUNTED, recount
from chat.models import ChatSession, Message
from qa.isolation.canaries import owners_in
from qa.isolation.changes import wait_until_settled
from qa.isolation.dataset import MAX_INPUT_CHARS
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.probes.registry import has_status, probe, shows_nothing_of
from tenants.billing.limits import month_of
from tenants.billing.usage import Admission
from tenants.models import Usage


@probe
def a_key_opens_sessions_of_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    for name in ("sk", "pk", "sk of another tenant"):
        answer = matrix.request("POST", "/api/chat/sessions", matrix.dataset[name], body={})
        yield from has_status(answer, 201, f"that of {name}")
        tenant = matrix.dataset.own(matrix.dataset[name]).tenant
        if answer.status == 201 and answer.json()["tenant_id"] != str(tenant.pk):
            yield f"{name} opens one of another tenant"


@probe
def a_single_call_chats_in_a_new_session_of_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    acme = matrix.dataset.acme.tenant.pk
    for name in ("sk", "pk"):
        answer = matrix.request("POST", "/api/chat", matrix.dataset[name], body={"message": "Hi"})
        yield from has_status(answer, 200, f"that of {name}")
        yield from shows_nothing_of(answer, "umbrella", name)
        if not ChatSession.objects.filter(pk=answer.json().get("session_id"), tenant=acme).exists():
            yield f"{name} gets no session of its own tenant"
        wait_until_settled()
        if changed := matrix.changed_for_others(acme):
            yield f"settling that of {name} changed {changed}"
        if sent := owners_in(str(matrix.provider_requests())) - {"acme"}:
            yield f"the provider received data of {sent}"


@probe
def a_refused_call_leaves_no_session(matrix: Matrix) -> Iterator[str]:
    before = ChatSession.objects.count()
    body = {"message": "x" * (MAX_INPUT_CHARS + 1)}
    answer = matrix.request("POST", "/api/chat", matrix.dataset["sk"], body=body)
    yield from has_status(answer, 400, "a message that is too long")
    if ChatSession.objects.count() != before:
        yield "it leaves one"


@probe
def settling_a_turn_does_not_change_other_tenants_usage(matrix: Matrix) -> Iterator[str]:
    """Even if another tenant had a reservation with the same id, which never happens."""
    reply = matrix.dataset.acme.reply
    _reserve_for_both(matrix, reply.reservation)
    Message.objects.filter(pk=reply.pk).update(settled=False)
    path = f"/api/chat/sessions/{reply.session.pk}/messages/{reply.pk}/retry"
    yield from has_status(matrix.request("POST", path, matrix.dataset["admin"], body={}), 200, "a retry")
    if str(reply.reservation) not in _reservations(matrix.dataset.umbrella.tenant.pk):
        yield "Umbrella's reservation is gone"


@probe
def the_end_of_a_turn_does_not_change_other_tenants_usage(matrix: Matrix) -> Iterator[str]:
    """As above; only a turn that can't be settled yet ends before."""
    same, acme, umbrella = ObjectId(), matrix.dataset.acme.tenant.pk, matrix.dataset.umbrella.tenant.pk
    _reserve_for_both(matrix, same)
    Usage.objects.end(acme, same)
    ended = ["ended" in _reservations(tenant)[str(same)] for tenant in (acme, umbrella)]
    if ended != [True, False]:
        yield f"whether those of Acme and Umbrella have ended: {ended}"


@probe
def renewing_a_turn_does_not_change_other_tenants_usage(matrix: Matrix) -> Iterator[str]:
    """As above; a background thread renews, which no request shows."""
    same = ObjectId()
    until = _reserve_for_both(matrix, same)
    Usage.objects.renew(matrix.dataset.acme.tenant.pk, same, lease_seconds=600)
    if _reservations(matrix.dataset.umbrella.tenant.pk)[str(same)]["until"] != until:
        yield "Umbrella's is renewed"


@probe
def a_further_call_of_a_turn_is_reserved_for_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    """As above; only a call that follows a failed one reserves more."""
    same, acme, umbrella = ObjectId(), matrix.dataset.acme.tenant, matrix.dataset.umbrella.tenant
    _reserve_for_both(matrix, same)
    admission = Admission(same, month_of(timezone.now()), minute=Usage.objects.of(acme).limit_usages()[0])
    Usage.objects.extend(acme, admission, tokens=7, cost=Decimal(0))
    reserved = [_reservations(tenant.pk)[str(same)]["tokens"] for tenant in (acme, umbrella)]
    if reserved != [7, 0]:
        yield f"Acme and Umbrella have reserved {reserved}"


@probe
def a_recount_reads_and_corrects_one_tenant(matrix: Matrix) -> Iterator[str]:
    acme = matrix.dataset.acme.tenant
    Usage.objects.of(acme)
    recount(acme.pk)
    rows = [row for model in COUNTED for row in model.collection().find({"tenant_id": acme.pk})]
    own, counted = sum(len(encode(row)) for row in rows), Usage.objects.get(pk=acme.pk).kept_bytes
    if counted != own:
        yield f"Acme keeps {own} bytes, counted are {counted}"
    if changed := matrix.changed_for_others(acme.pk):
        yield f"it changed {changed} of others"


@probe
def a_lost_reply_is_numbered_within_its_own_session(matrix: Matrix) -> Iterator[str]:
    """A repeated question whose reply was never stored gets the next number of its session."""
    Message.objects.filter(pk=matrix.dataset.umbrella.reply.pk).update(seq=1000)
    first = _ask_idempotently(matrix)
    yield from has_status(first, 201, "a question")
    wait_until_settled()
    lost = Message.objects.get(pk=first.json()["reply"]["id"])
    lost.delete()
    repeated = _ask_idempotently(matrix)
    yield from has_status(repeated, 201, "the repeated question")
    seq = Message.objects.get(pk=repeated.json()["reply"]["id"]).seq
    if seq != lost.seq:
        yield f"its reply has the number {seq} instead of {lost.seq}"


def _ask_idempotently(matrix: Matrix) -> Answer:
    path = f"/api/chat/sessions/{matrix.dataset.acme.session.pk}/messages"
    body = {"message": "Hi"}
    return matrix.request("POST", path, matrix.dataset["admin"], body=body, HTTP_IDEMPOTENCY_KEY="a-key")


def _reserve_for_both(matrix: Matrix, reservation_id: ObjectId) -> Any:
    """Store a reservation with the same id for Umbrella and Acme; return its end as the database has it."""
    month = month_of(timezone.now())
    reservation = {"until": timezone.now() + timedelta(minutes=1), "month": month, "tokens": 0, "cost": 0}
    for tenant in (matrix.dataset.umbrella.tenant, matrix.dataset.acme.tenant):
        Usage.objects.of(tenant)
        stored = {"$set": {f"reservations.{reservation_id}": reservation}}
        Usage.collection().update_one({"_id": tenant.pk}, stored)
    return _reservations(matrix.dataset.umbrella.tenant.pk)[str(reservation_id)]["until"]


def _reservations(tenant_id: ObjectId) -> dict[str, Any]:
    (usage,) = Usage.collection().find({"_id": tenant_id})
    reservations: dict[str, Any] = usage["reservations"]
    return reservations
