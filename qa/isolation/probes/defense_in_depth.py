"""Conditions behind other conditions: each must hold by itself, though another one is checked first."""

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
from chat.visitor_identity import VisitorIdentity
from qa.isolation.callers import BEARER
from qa.isolation.dataset import ERASED_IN_BOTH, ERASED_IN_UMBRELLA
from qa.isolation.matrix import Matrix
from qa.isolation.principals import visitor_caller
from qa.isolation.probes.registry import has_status, probe, shows_nothing_of
from qa.isolation.tenant_fixtures import actor
from tenants.access import Access
from tenants.models import ApiKey, Erasure
from tenants.models.erasure import ErasureScope


@probe
def an_erasure_selects_only_its_tenants_messages(matrix: Matrix) -> Iterator[str]:
    """Otherwise it would never end: what it does not delete it would select again."""
    deleted: list[int] = []

    def note(session: object, collection: str, count: int, moments: object) -> None:
        deleted.append(count)
        if count == 0:
            raise LookupError("A batch of which nothing was deleted.")

    deletion.delete_sessions(matrix.dataset.acme.tenant.pk, [matrix.dataset.mixed_session.pk], note)
    if deleted != [1]:
        yield f"it deleted {deleted} instead of the session alone"


@probe
def an_erasure_selects_only_its_tenants_sessions(matrix: Matrix) -> Iterator[str]:
    acme = matrix.dataset.acme
    subjects = {
        ErasureScope.VISITOR: ERASED_IN_BOTH,
        ErasureScope.USER: acme.admin.pk,
        ErasureScope.SESSION: acme.session.pk,
        ErasureScope.CHAT: "",
    }
    for scope, subject in subjects.items():
        selected = erasure.sessions_of(Erasure(tenant=acme.tenant.pk, scope=scope, subject=str(subject)))
        if {row["tenant_id"] for row in ChatSession.collection().find(selected)} != {acme.tenant.pk}:
            yield f"that of a {scope} selects others"


@probe
def an_erasure_deletes_only_its_tenants_documents_whatever_ids_it_gets(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.dataset.acme, matrix.dataset.umbrella
    begun = Erasure.objects.begin(acme.tenant.pk, ErasureScope.CHAT, "", actor(acme.admin))
    erasure.erase_sessions(begun, [umbrella.session.pk])
    deletion.delete_messages(acme.tenant.pk, [umbrella.reply.pk])
    if changed := matrix.changed_for_others(acme.tenant.pk):
        yield f"it changed {changed} of others"


@probe
def every_claim_of_a_visitors_token_is_checked(matrix: Matrix) -> Iterator[str]:
    """Our own tokens never contradict themselves; here each single wrong claim must be refused."""
    dataset = matrix.dataset
    wrong: dict[str, tuple[dict[str, Any], int]] = {
        "identity": ({"identity_id": ObjectId()}, 401),
        "visitor": ({"visitor": dataset.fixtures["stranger"].session.visitor}, 404),
        "tenant": ({"tenant_id": dataset.umbrella.tenant.pk}, 404),
        "key": ({"key_id": ObjectId()}, 404),
        "key of another tenant": ({"key_id": dataset.umbrella.key.pk}, 404),
        "origin": ({"origin": "https://elsewhere.example"}, 401),
    }
    path = f"/api/chat/sessions/{dataset.fixtures['visitor'].session.pk}"
    for claim, (claims, expected) in wrong.items():
        answer = matrix.request("GET", path, visitor_caller(dataset, "visitor", **claims), BEARER)
        yield from has_status(answer, expected, f"one with another {claim}")


@probe
def a_visitors_token_is_refused_once_its_key_or_tenant_is_unusable(matrix: Matrix) -> Iterator[str]:
    dataset = matrix.dataset
    acmes = ApiKey.objects.filter(tenant=dataset.acme.tenant)
    expected = {
        "visitor": [
            (acmes.filter(revoked_at__lt=timezone.now()).get(), 401),
            (acmes.filter(expires_at__lt=timezone.now()).get(), 401),
        ],
        "hooli": [(dataset.fixtures["hooli"].key, 403)],
        "initech": [(dataset.fixtures["initech"].key, 404)],
    }
    for owner, keys in expected.items():
        path = f"/api/chat/sessions/{dataset.fixtures[owner].session.pk}"
        for key, status in keys:
            answer = matrix.request("GET", path, visitor_caller(dataset, owner, key_id=key.pk), BEARER)
            yield from has_status(answer, status, f"that of {key.name} for {owner}")


@probe
def messages_that_name_another_tenant_are_not_listed(matrix: Matrix) -> Iterator[str]:
    """A message in Acme's session that names Umbrella is in none of Acme's lists."""
    for path in (
        f"/api/chat/sessions/{matrix.dataset.mixed_session.pk}/messages",
        f"/api/chat/tenants/{matrix.dataset.acme.tenant.pk}/messages",
    ):
        answer = matrix.request("GET", path, matrix.dataset["admin"])
        yield from has_status(answer, 200, path)
        yield from shows_nothing_of(answer, "umbrella", path)


@probe
def visitors_see_only_their_own_sessions(matrix: Matrix) -> Iterator[str]:
    """Whatever a route asks for, the queryset returns a visitor's own."""
    own = matrix.dataset.fixtures["visitor"].session
    access = Access(matrix.dataset.acme.tenant, visitor=own.visitor)
    if list(ChatSession.objects.visible_to(access)) != [own]:
        yield "the queryset returns others"


@probe
def erasing_a_visitor_deletes_no_other_data(matrix: Matrix) -> Iterator[str]:
    acme, caller = matrix.dataset.acme, matrix.dataset["admin"]
    visitors = f"/api/chat/tenants/{acme.tenant.pk}/visitors"
    foreign = matrix.request("DELETE", f"{visitors}/{ERASED_IN_UMBRELLA}", caller)
    yield from has_status(foreign, 404, "one whose erasure runs in Umbrella only")
    running = Message.objects.filter(pk=acme.reply.pk)
    running.update(status="streaming", lease_until=timezone.now() + timedelta(minutes=1))
    others = ChatSession.objects.exclude(tenant=acme.tenant, visitor=ERASED_IN_BOTH)
    expected = {*others.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    VisitorIdentity.objects.keep(acme.tenant.pk, ERASED_IN_BOTH, acme.key.pk, "")
    identities = set(VisitorIdentity.objects.exclude(visitor=ERASED_IN_BOTH).values_list("pk", flat=True))
    answer = matrix.request("DELETE", f"{visitors}/{ERASED_IN_BOTH}", caller)
    yield from has_status(answer, 202, "one whose erasure runs in Acme too")
    left = {*ChatSession.objects.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    if left != expected:
        yield f"{len(expected - left)} others are gone, {len(left - expected)} of its own are left"
    if set(VisitorIdentity.objects.values_list("pk", flat=True)) != identities:
        yield "the identities that are left are not those of other visitors"
    if running.filter(cancel_requested=True).exists():
        yield "a turn of another session was cancelled"
    if changed := matrix.changed_for_others(acme.tenant.pk):
        yield f"it changed {changed} of other tenants"


@probe
def erasing_a_user_deletes_no_other_sessions(matrix: Matrix) -> Iterator[str]:
    acme = matrix.dataset.acme
    own = ChatSession.objects.filter(tenant=acme.tenant, user=acme.admin)
    expected = set(ChatSession.objects.exclude(pk__in=own).values_list("pk", flat=True))
    erasure.erase_user(acme.tenant.pk, acme.admin.pk, actor(acme.admin))
    if set(ChatSession.objects.values_list("pk", flat=True)) != expected:
        yield "other sessions are gone, or some of the user's are left"
    if changed := matrix.changed_for_others(acme.tenant.pk):
        yield f"it changed {changed} of others"


@probe
def erasing_all_chat_deletes_that_of_one_tenant(matrix: Matrix) -> Iterator[str]:
    acme = matrix.dataset.acme
    begun = Erasure.objects.begin(acme.tenant.pk, ErasureScope.CHAT, "", actor(acme.admin))
    add_to_counts = begun.add_to_counts

    def add_or_fail(session: ClientSession, documents: str, count: int, *args: Any, **kwargs: Any) -> None:
        """Otherwise it would never end: what it does not delete it would select again."""
        if count == 0:
            raise LookupError(f"A batch of {documents} of which nothing was deleted.")
        add_to_counts(session, documents, count, *args, **kwargs)

    vars(begun)["add_to_counts"] = add_or_fail
    erasure.resume(begun)
    if changed := matrix.changed_for_others(acme.tenant.pk):
        yield f"it changed {changed} of others"
