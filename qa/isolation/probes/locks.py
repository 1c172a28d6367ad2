"""Locks behind locks: each alone must hold, though another one stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone
from pymongo.client_session import ClientSession

from chat import erasure
from chat.analytics import deletion
from chat.models import ChatSession, Message
from qa.isolation.callers import BEARER
from qa.isolation.matrix import Matrix
from qa.isolation.principals import visiting
from qa.isolation.probes.probe import probe, shows_nothing_of, status
from qa.isolation.tenant_fixtures import actor
from qa.isolation.world import LEAVING, LEAVING_UMBRELLA
from tenants.access import Access
from tenants.models import ApiKey, Erasure
from tenants.models.erasure import ErasureScope


@probe
def an_erasure_takes_up_no_message_that_is_not_its_tenants(matrix: Matrix) -> Iterator[str]:
    """It would never be done with it: what it does not remove it finds again."""
    taken_up: list[int] = []

    def note(session: object, collection: str, count: int, moments: object) -> None:
        taken_up.append(count)
        if count == 0:
            raise LookupError("A batch of which nothing was removed.")

    deletion.delete_sessions(matrix.world.acme.tenant.pk, [matrix.world.muddled.pk], note)
    if taken_up != [1]:
        yield f"it removed {taken_up} instead of the session alone"


@probe
def an_erasure_finds_sessions_of_its_tenant_only(matrix: Matrix) -> Iterator[str]:
    acme = matrix.world.acme
    subjects = {
        ErasureScope.VISITOR: LEAVING,
        ErasureScope.USER: acme.admin.pk,
        ErasureScope.SESSION: acme.session.pk,
        ErasureScope.CHAT: "",
    }
    for scope, subject in subjects.items():
        found = erasure.sessions_of(Erasure(tenant=acme.tenant.pk, scope=scope, subject=str(subject)))
        if {row["tenant_id"] for row in ChatSession.collection().find(found)} != {acme.tenant.pk}:
            yield f"that of a {scope} finds others"


@probe
def an_erasure_takes_only_what_is_its_tenants_whatever_it_is_given(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.world.acme, matrix.world.umbrella
    begun = Erasure.objects.begin(acme.tenant.pk, ErasureScope.CHAT, "", actor(acme.admin))
    erasure.erase_sessions(begun, [umbrella.session.pk])
    deletion.delete_messages(acme.tenant.pk, [umbrella.reply.pk])
    if touched := matrix.touched_beside(acme.tenant.pk):
        yield f"it changed {touched} of others"


@probe
def a_pass_opens_what_all_of_it_says(matrix: Matrix) -> Iterator[str]:
    """Our own passes never contradict themselves; here each part alone must keep its bearer out."""
    world = matrix.world
    elsewhere, other = world.umbrella, world.estates["stranger"]
    wrong = {
        "session": ("visitor", {"session_id": ObjectId()}, 404),
        "visitor": ("visitor", {"visitor": other.session.visitor}, 404),
        "tenant": ("visitor", {"tenant_id": elsewhere.tenant.pk}, 404),
        "key": ("visitor", {"key_id": ObjectId()}, 404),
        "key of another tenant": ("visitor", {"key_id": elsewhere.key.pk}, 404),
        "origin": ("visitor", {"origin": "https://elsewhere.example"}, 401),
    }
    for part, (room, said, expected) in wrong.items():
        path = f"/api/chat/sessions/{world.estates[room].session.pk}"
        answer = matrix.request("GET", path, visiting(world, room, **said), BEARER)
        yield from status(answer, expected, f"one with another {part}")


@probe
def a_pass_opens_nothing_once_its_key_or_tenant_is_gone(matrix: Matrix) -> Iterator[str]:
    world = matrix.world
    unusable = ApiKey.objects.filter(tenant=world.acme.tenant)
    expected = {
        "visitor": [
            (unusable.filter(revoked_at__lt=timezone.now()).get(), 401),
            (unusable.filter(expires_at__lt=timezone.now()).get(), 401),
        ],
        "hooli": [(world.estates["hooli"].key, 403)],
        "initech": [(world.estates["initech"].key, 404)],
    }
    for room, keys in expected.items():
        path = f"/api/chat/sessions/{world.estates[room].session.pk}"
        for key, refusal in keys:
            answer = matrix.request("GET", path, visiting(world, room, key_id=key.pk), BEARER)
            yield from status(answer, refusal, f"that of {key.name} in {room}")


@probe
def messages_of_another_tenant_are_not_listed_in_ours(matrix: Matrix) -> Iterator[str]:
    """A message in Acme's session that names Umbrella is in none of Acme's lists."""
    for path in (
        f"/api/chat/sessions/{matrix.world.muddled.pk}/messages",
        f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/messages",
    ):
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from status(answer, 200, path)
        yield from shows_nothing_of(answer, "umbrella", path)


@probe
def visitors_find_their_own_sessions_only(matrix: Matrix) -> Iterator[str]:
    """No route lists sessions to visitors; the queryset would show one its own."""
    own = matrix.world.estates["visitor"].session
    access = Access(matrix.world.acme.tenant, visitor=own.visitor)
    if list(ChatSession.objects.visible_to(access)) != [own]:
        yield "the queryset finds others"


@probe
def an_erased_visitor_takes_nobody_along(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.world.acme.tenant, matrix.world.umbrella.tenant
    place = f"/api/chat/tenants/{acme.pk}/visitors"
    elsewhere = matrix.request("DELETE", f"{place}/{LEAVING_UMBRELLA}", matrix.world["admin"])
    yield from status(elsewhere, 404, "one whom only Umbrella erases")
    running = Message.objects.filter(pk=matrix.world.acme.reply.pk)
    running.update(status="streaming", lease_until=timezone.now() + timedelta(minutes=1))
    sessions = ChatSession.objects.exclude(tenant=acme, visitor=LEAVING)
    kept = {*sessions.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    answer = matrix.request("DELETE", f"{place}/{LEAVING}", matrix.world["admin"])
    yield from status(answer, 202, "one whom Acme erases")
    left = {*ChatSession.objects.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    if left != kept:
        yield f"{len(kept - left)} others went, {len(left - kept)} stayed"
    if running.filter(cancel_requested=True).exists():
        yield "a turn of another session was stopped"
    if touched := matrix.touched_beside(acme.pk):
        yield f"it changed {touched} of others than Acme, {umbrella.name} for one"


@probe
def an_erased_user_takes_nobody_along(matrix: Matrix) -> Iterator[str]:
    acme = matrix.world.acme
    own = ChatSession.objects.filter(tenant=acme.tenant, user=acme.admin)
    kept = set(ChatSession.objects.exclude(pk__in=own).values_list("pk", flat=True))
    erasure.erase_user(acme.tenant.pk, acme.admin.pk, actor(acme.admin))
    if set(ChatSession.objects.values_list("pk", flat=True)) != kept:
        yield "other sessions went, or its own stayed"
    if touched := matrix.touched_beside(acme.tenant.pk):
        yield f"it changed {touched} of others"


@probe
def an_erased_chat_is_that_of_one_tenant(matrix: Matrix) -> Iterator[str]:
    acme = matrix.world.acme
    begun = Erasure.objects.begin(acme.tenant.pk, ErasureScope.CHAT, "", actor(acme.admin))
    note = begun.note

    def note_some(session: ClientSession, documents: str, count: int, *more: Any, **others: Any) -> None:
        """It would never be done with what is not its tenant's: what it does not remove it finds again."""
        if count == 0:
            raise LookupError(f"A batch of {documents} of which nothing was removed.")
        note(session, documents, count, *more, **others)

    begun.note = note_some
    erasure.resume(begun)
    if touched := matrix.touched_beside(acme.tenant.pk):
        yield f"it changed {touched} of others"
