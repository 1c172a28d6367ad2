"""Two requests that change one object at once: no server error, nothing lost, nothing back, no orphan."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from drf_spectacular.generators import SchemaGenerator

from chat.models import ChatSession, Message
from chat.visitor_identity import VisitorIdentity
from conftest import COMMANDS
from core.audit.models import SYSTEM
from qa.hostile.concurrent_changes import (
    OWN_IDENTITY,
    SESSION,
    TENANT,
    VISITOR,
    VISITOR_TOKENS,
    Operation,
    World,
    operations,
    orphans,
)
from qa.isolation.changes import owned_models
from qa.isolation.matrix import Answer, Matrix
from tenants.models import ApiKey, Invitation, Membership, Tenant, Webhook, WebhookDelivery
from tenants.purge import purge

pytestmark = pytest.mark.django_db

DELETE_TENANT = Operation("DELETE", TENANT)
DELETIONS = [operation for operation in operations() if operation.method == "DELETE"]
REPEATABLE = (
    DELETE_TENANT,
    Operation("DELETE", f"{TENANT}/api-keys/<str:key_id>"),
    Operation("DELETE", OWN_IDENTITY),
)
CREATIONS_IN_TENANT = [
    operation
    for operation in operations()
    if operation.method == "POST"
    and (operation.route.startswith((TENANT, "api/invitations")) or operation.route == "api/chat/sessions")
    and not operation.route.endswith("/test")
]
TURNS = (
    Operation("POST", f"{SESSION}/messages"),
    Operation("POST", f"{SESSION}/messages/<str:message_id>/retry"),
)


@pytest.fixture(scope="module")
def world(matrix: Matrix) -> Iterator[World]:
    world = World(matrix, COMMANDS)
    yield world
    world.close()


@functools.cache
def documented_statuses() -> dict[tuple[str, str], set[int]]:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return {
        (method.upper(), _shape(path)): {int(code) for code in operation["responses"]}
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def _shape(path: str) -> str:
    """Return a path without the names of its parameters."""
    parts = path.strip("/").replace("<", "{").replace(">", "}").split("/")
    return "/".join("{}" if part.startswith("{") else part for part in parts)


@pytest.mark.parametrize("first", operations(), ids=str)
def test_the_second_request_is_answered_between_the_reads_and_the_first_write_of_the_first(
    world: World, first: Operation
):
    failures = [
        failure
        for second in operations()
        if first.is_related_to(second)
        for failure in failures_of(world, first, second, before_write=1)
    ]
    assert failures == []


@pytest.mark.proof
@pytest.mark.parametrize("before_write", [2, 3, 4, 5])
@pytest.mark.parametrize("first", operations(), ids=str)
def test_the_second_request_is_answered_between_two_writes_of_the_first(
    world: World, first: Operation, before_write: int
):
    failures = [
        failure
        for second in operations()
        if first.is_related_to(second)
        for failure in failures_of(world, first, second, before_write=before_write)
    ]
    assert failures == []


def conditional_operations() -> list[Operation]:
    """Return the operations on objects with an ETag."""
    routes = (TENANT, SESSION, f"{TENANT}/webhooks/<str:webhook_id>", "api/auth/profile")
    return [each for each in operations() if each.route in routes]


@pytest.mark.parametrize("first", conditional_operations(), ids=str)
def test_if_match_refuses_what_has_changed_after_it_was_compared(world: World, first: Operation):
    for second in conditional_operations():
        if second.route != first.route:
            continue
        world.restore()
        tag = world.read(first).headers["ETag"]
        answer, interrupting = world.race(first, second, first_headers={"HTTP_IF_MATCH": tag})

        assert interrupting is not None
        assert interrupting.status < 400
        assert answer.status == (404 if second.method == "DELETE" else 412), str(second)
        if second.method != "DELETE":
            stored = world.read(first)
            assert stored.status == 200
            assert stored.headers["ETag"] == interrupting.headers["ETag"]


def failures_of(world: World, first: Operation, second: Operation, *, before_write: int) -> list[str]:
    world.restore()
    answer, interrupting = world.race(first, second, before_write=before_write)
    if interrupting is None:
        return []
    found = [*_wrong_statuses(first, answer), *_wrong_statuses(second, interrupting)]
    if before_write == 1 and interrupting.status >= 400:
        found.append(f"the second was answered {interrupting.status}: {interrupting.text[:300]}")
    both_done = answer.status < 400 and interrupting.status < 400
    for operation, its in ((first, answer), (second, interrupting)):
        if operation in DELETIONS and its.status < 400:
            found += remains_of(world, operation)
    if before_write == 1 and both_done and deleted_before(second, first):
        found.append(f"the first was answered {answer.status} though its object was deleted")
    if both_done:
        found += lost_fields(world, first, second, before_write)
    found += orphans()
    if DELETE_TENANT in (first, second) and not found:
        found += left_by_purge(world.tenant)
    return [f"{first} interrupted by {second}: {failure}" for failure in found]


def _wrong_statuses(operation: Operation, answer: Answer) -> Iterator[str]:
    documented = documented_statuses()[operation.method, _shape(operation.route)]
    if answer.status >= 500 or answer.status not in documented:
        yield f"{operation} answered {answer.status}: {answer.text[:300]}"


def deleted_before(second: Operation, first: Operation) -> bool:
    """Whether `first` must fail because `second` has deleted what it works on.

    Ending what has ended already succeeds. A deleted tenant keeps its objects, hidden, until it is
    purged: only new ones must not appear. A turn that is accepted while its session is erased is answered,
    and its messages are deleted when it is settled.
    """
    if second == DELETE_TENANT:
        return first.route == TENANT or first in CREATIONS_IN_TENANT
    if second.method != "DELETE" or second in REPEATABLE:
        return False
    if second.route == VISITOR:
        return first.route.startswith(SESSION) and first not in TURNS
    return first.route.startswith(second.route) and first not in TURNS


def lost_fields(world: World, first: Operation, second: Operation, before_write: int) -> Iterator[str]:
    """Yield the fields of two successful changes that are not stored."""
    if not (first.is_change and second.is_change and first.object_route == second.object_route):
        return
    if first.route == "api/auth/change-password" or second.route == "api/auth/change-password":
        return
    stored = world.read(first).json()
    stored |= stored.get("feedback") or {}
    firsts, seconds = world.body(first) or {}, world.body(second, is_other=True) or {}
    for name in firsts | seconds:
        # Before its first write, the first one is the last to change what both change.
        possible = [each[name] for each in (firsts, seconds) if name in each]
        expected = possible[:1] if before_write == 1 else possible
        if stored.get(name) not in expected:
            yield f"{name} is {stored.get(name)!r} instead of {expected!r}"


def remains_of(world: World, deletion: Operation) -> Iterator[str]:
    """Yield what is left of an object that was deleted."""
    ids = world.ids
    left = {
        TENANT: lambda: Tenant.objects.present().filter(pk=ids["tenant_id"]),
        f"{TENANT}/members/<str:user_id>": lambda: Membership.objects.filter(
            tenant=ids["tenant_id"], user=ids["user_id"]
        ),
        f"{TENANT}/invitations/<str:invitation_id>": lambda: Invitation.objects.open().filter(
            pk=ids["invitation_id"]
        ),
        f"{TENANT}/api-keys/<str:key_id>": lambda: ApiKey.objects.usable().filter(pk=ids["key_id"]),
        f"{TENANT}/webhooks/<str:webhook_id>": lambda: (
            Webhook.objects.filter(pk=ids["webhook_id"])
            or WebhookDelivery.objects.filter(webhook_id=ids["webhook_id"])
        ),
        SESSION: lambda: (
            ChatSession.objects.filter(pk=ids["session_id"])
            or Message.objects.filter(session_id=ids["session_id"])
        ),
        VISITOR: lambda: ChatSession.objects.filter(visitor=ids["visitor_id"]),
        VISITOR_TOKENS: lambda: VisitorIdentity.objects.filter(visitor=ids["visitor_id"]),
        OWN_IDENTITY: lambda: VisitorIdentity.objects.filter(visitor=ids["visitor_id"]),
    }
    for each in left[deletion.route]():
        yield f"{each._meta.verbose_name} {each} is back after {deletion}"


def left_by_purge(tenant: Tenant) -> Iterator[str]:
    purge(Tenant.objects.get(pk=tenant.pk), SYSTEM)
    for model, column in owned_models().items():
        if column == "tenant":  # manifests of erasures, which are kept
            continue
        if model.collection().find_one({column: tenant.pk}):  # type: ignore[attr-defined]
            yield f"a {model._meta.verbose_name} is left by the purge"


def test_documents_without_an_owner_are_found(acme, bob, session):
    membership = acme.memberships.get(user=bob)
    Tenant.collection().delete_one({"_id": acme.pk})

    assert {
        f"membership {membership.pk} without its tenant",
        f"chat session {session.pk} without its tenant",
    } <= set(orphans())
