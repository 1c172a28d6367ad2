"""With what each credential, token and invitation ends: a row each, and a column for each event.

Kinds are found in the code and events in the audit trail's coverage: a new one fails until it has its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.test import Client
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.test import APIClient

from accounts.mailed_tokens import CONFIRMATION, PASSWORD_RESET, token_for, user_of
from accounts.models import User
from accounts.tokens import SessionToken
from chat.erasure import erase_session, erase_visitor
from chat.models import ChatSession
from chat.visitor_identity import VisitorIdentity
from core.mongo.models import Document
from qa.testing.accounts import PASSWORD, AuthClient
from qa.testing.tenants import by, create_user, issue, signed_in, with_key
from qa.tests.audit_coverage.test_api import RECORDED
from qa.tests.audit_coverage.test_commands import RECORDED_COMMANDS
from qa.tests.audit_coverage.test_console import CONSOLE
from tenants.models import ApiKey, Invitation, Tenant

SHOP = "https://shop.example"
NEW_PASSWORD = "quite another phrase"

#: Each kind of credential in the code, and the rows that stand for it.
KINDS: dict[str, tuple[str, ...]] = {
    "MemberAuthentication": ("membership",),
    "JWTAuthentication": ("login", "other login"),
    "OptionalJWTAuthentication": ("login",),
    "BearerChallenge": (),  # reads no credential
    "ApiKeyAuthentication": ("secret key", "public key"),
    "BearerKeyAuthentication": ("secret key",),
    "VisitorAuthentication": ("visitor",),
    "AccessToken": ("login",),
    "RefreshToken": ("refresh token",),
    "_ConfirmationTokens": ("confirmation",),
    "PasswordResetTokenGenerator": ("password reset",),
    "console.sessions": ("console",),
    "accounts.RefreshToken": ("refresh token",),
    "tenants.ApiKey": ("secret key", "public key"),
    "tenants.Invitation": ("invitation",),
}

LOGINS = {"login", "other login", "refresh token", "membership"}
MAILED = {"password reset", "confirmation"}
KEYS = {"secret key", "public key", "visitor"}


@dataclass
class World:
    """Dave is an admin of Acme and of the platform's staff, with every credential that a user can have."""

    acme: Tenant
    alice: User
    dave: User = field(init=False)

    def __post_init__(self) -> None:
        self.dave = User.objects.create_superuser("dave@example.com", PASSWORD)
        self.acme.memberships.create(user=self.dave, role="admin")
        self.own, self.other = AuthClient(self.dave.email), AuthClient(self.dave.email)
        self.console = Client()
        self.console.post("/admin/login/", {"username": self.dave.email, "password": PASSWORD})
        self.own.log_in()
        self.other.log_in()
        self.secret = issue(self.acme, self.dave, scopes=["sessions:read", "messages:send"])
        self.public = issue(self.acme, self.dave, kind="pk")
        self.acme.change(by(self.alice), allowed_origins=[SHOP])
        self.invitee = create_user("eve")
        invitations = Invitation.objects
        self.invited = invitations.send(self.acme, email=self.invitee.email, role="viewer", by=by(self.dave))
        User.objects.filter(pk=self.dave.pk).update(email_confirmed=False)
        self.dave.refresh_from_db()
        self.tokens = {tokens: token_for(self.dave, tokens) for tokens in (PASSWORD_RESET, CONFIRMATION)}
        opened = self.page.post("/api/chat/sessions", {}).json()
        self.session = ChatSession.objects.get(pk=opened["id"])
        self.visitor = APIClient(HTTP_AUTHORIZATION=f"Bearer {opened['visitor_token']}", HTTP_ORIGIN=SHOP)

    @property
    def page(self) -> APIClient:
        return with_key(self.public.secret, HTTP_ORIGIN=SHOP)

    def alive(self) -> set[str]:
        """Return the rows that still work."""
        return {name for name, works in self._checks().items() if works()}

    def _checks(self) -> dict[str, Callable[[], bool]]:
        tenant, session = f"/api/tenants/{self.acme.pk}", f"/api/chat/sessions/{self.session.pk}"
        bearer = {"HTTP_AUTHORIZATION": f"Bearer {self.own.access}"}
        refresh = {"refresh": self.own.refresh}
        token = {"token": self.invited.token}
        client = APIClient()
        return {
            "login": self.own.is_signed_in,
            "other login": self.other.is_signed_in,
            "membership": lambda: client.get(f"{tenant}/members", **bearer).status_code == 200,
            "console": lambda: self.console.get("/admin/tenants/plan/").status_code == 200,
            "secret key": lambda: with_key(self.secret.secret).get(session).status_code in (200, 404),
            "public key": lambda: self.page.post("/api/chat/sessions", {}).status_code == 201,
            "visitor": lambda: self.visitor.get(f"{session}/messages").status_code == 200,
            "password reset": lambda: user_of(self.tokens[PASSWORD_RESET], PASSWORD_RESET) is not None,
            "confirmation": lambda: user_of(self.tokens[CONFIRMATION], CONFIRMATION) is not None,
            "invitation": lambda: _accept(self.invitee, token) == 200,
            "refresh token": lambda: APIClient().post("/api/auth/refresh-token", refresh).status_code == 200,
        }

    def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        response = getattr(self.own, method)(path, body)
        assert response.status_code < 300, response.data

    def narrow(self, key: ApiKey, **fields: Any) -> None:
        ApiKey.objects.filter(pk=key.pk).update(**fields)


def _accept(user: User, body: dict[str, str]) -> int:
    client = AuthClient(user.email)
    user.set_password(PASSWORD)
    user.save()
    client.log_in()
    headers = {"HTTP_AUTHORIZATION": f"Bearer {client.access}"}
    return client.client.post("/api/invitations/accept", body, format="json", **headers).status_code


def deactivate(world: World) -> None:
    world.dave.update(is_active=False)


def lose_staff_rights(world: World) -> None:
    world.dave.update(is_staff=False, is_superuser=False)


def reset_password(world: World) -> None:
    body = {"token": world.tokens[PASSWORD_RESET], "new_password": NEW_PASSWORD}
    response = APIClient().post("/api/auth/password-reset/confirm", body)
    assert response.status_code == 204, response.data


def revoke_keys(world: World) -> None:
    for issued in (world.secret, world.public):
        issued.key.revoke(by(world.alice))


def rotate_keys(world: World) -> None:
    for issued in (world.secret, world.public):
        issued.key.rotate(overlap=timedelta(0), by=by(world.alice))


def revoke_visitor(world: World) -> None:
    path = f"/api/chat/tenants/{world.acme.pk}/visitor-tokens/{world.session.visitor}"
    assert signed_in(world.alice).delete(path).status_code == 204


def narrow(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        for issued in (world.secret, world.public):
            world.narrow(issued.key, **fields)

    return change


CHANGE_PASSWORD = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}

#: Event -> how it happens, and the rows that end with it. All others stay.
EVENTS: dict[str, tuple[Callable[[World], Any], set[str]]] = {
    "user.logged_out": (
        lambda w: w.send("post", "logout", {}),
        {"login", "refresh token", "membership"},
    ),
    "user.session_ended": (
        lambda w: w.dave.end_session(w.dave.refresh_tokens.order_by("created_at")[0].family),
        {"login", "refresh token", "membership"},
    ),
    "user.sessions_ended": (lambda w: w.send("post", "logout-all", {}), LOGINS | {"console"}),
    # The session that changes it continues.
    "user.password_changed": (
        lambda w: w.send("put", "change-password", CHANGE_PASSWORD),
        {"other login", "console", "password reset"},
    ),
    "user.password_changed by a mailed token": (reset_password, LOGINS | MAILED | {"console"}),
    "user.email_confirmed": (lambda w: w.dave.confirm_email(by=by(w.dave)), {"confirmation"}),
    "user.deactivated": (deactivate, LOGINS | MAILED | {"console", "invitation"}),
    "user.rights_changed": (lose_staff_rights, {"console"}),
    "member.removed": (
        lambda w: w.acme.memberships.get(user=w.dave).remove(by(w.alice)),
        {"membership", "invitation"},
    ),
    "member.role_changed": (
        lambda w: w.acme.memberships.get(user=w.dave).change_role("viewer", by(w.alice)),
        {"membership", "invitation"},  # the right to read members, and to invite
    ),
    "api_key.revoked": (revoke_keys, KEYS),
    "api_key.rotated": (rotate_keys, KEYS),
    "a key expires": (narrow(expires_at=timezone.now() - timedelta(seconds=1)), KEYS),
    "a key loses its scopes": (narrow(scopes=[]), {"secret key"}),
    "a key loses the origin": (narrow(allowed_origins=["https://other.example"]), {"public key", "visitor"}),
    "a key loses the network": (narrow(allowed_networks=["192.0.2.0/24"]), KEYS),
    "tenant.updated": (
        lambda w: w.acme.change(by(w.alice), allowed_origins=["https://other.example"]),
        {"public key", "visitor"},
    ),
    "tenant.suspended": (lambda w: w.acme.suspend(by(w.alice)), KEYS | {"membership", "invitation"}),
    "tenant.deleted": (lambda w: w.acme.soft_delete(by(w.alice)), KEYS | {"membership", "invitation"}),
    "invitation.revoked": (lambda w: w.invited.invitation.revoke(by(w.alice)), {"invitation"}),
    "an invitation expires": (
        lambda w: Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        {"invitation"},
    ),
    "session.erased": (lambda w: erase_session(w.session, by(w.alice)), {"visitor"}),
    "visitor.tokens_revoked": (revoke_visitor, {"visitor"}),
    "a visitor stays away": (
        lambda w: VisitorIdentity.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        {"visitor"},
    ),
    "a visitor signs out": (lambda w: w.visitor.delete("/api/chat/visitor"), {"visitor"}),
    "visitor.erased": (lambda w: erase_visitor(w.acme.pk, w.session.visitor, by(w.alice)), {"visitor"}),
}

#: Recorded changes that end no credential.
ENDS_NOTHING = {
    "api_key.issued",
    "group.created",
    "group.deleted",
    "group.updated",
    "invitation.sent",
    "member.added",
    "plan.changed",
    "plan.created",
    "tenant.created",
    "tenant.plan_changed",
    "tenant.purged",  # of a tenant that was deleted
    "tenant.restored",
    "tenant.resumed",
    "usage.rebuilt",
    "user.created",
    "user.logged_in",
    "user.providers_tested",
    "user.registered",
    "user.updated",
    "webhook.changed",
    "webhook.created",
    "webhook.deleted",
}


@pytest.fixture
def world(acme: Tenant, alice: User) -> World:
    acme.memberships.exclude(user=alice).delete()
    User.objects.filter(email__startswith="dave").delete()
    return World(acme, alice)


def test_every_credential_works_before_anything_ends_it(world: World):
    assert world.alive() == set(world._checks())


@pytest.mark.parametrize("event", EVENTS)
def test_what_ends_with(world: World, event: str):
    happen, ended = EVENTS[event]

    happen(world)

    assert set(world._checks()) - world.alive() == ended


def test_every_recorded_change_has_a_column_or_ends_nothing():
    recorded = {action for action, _ in [*RECORDED.values(), *CONSOLE.values(), *RECORDED_COMMANDS.values()]}
    columns = {event for event in EVENTS if "." in event and " " not in event}

    assert recorded - columns == ENDS_NOTHING & recorded, "a new change: with what does it end?"
    assert not ENDS_NOTHING & columns


def kinds_in_the_code() -> Iterator[str]:
    for base in (BaseAuthentication, PasswordResetTokenGenerator, SessionToken):
        yield from (kind.__name__ for kind in _subclasses(base) if _is_ours(kind))
    yield PasswordResetTokenGenerator.__name__
    yield settings.SESSION_ENGINE
    secrets = {"digest", "jti"}
    for model in apps.get_models():
        names = {column.name for column in model._meta.concrete_fields}
        if issubclass(model, Document) and "expires_at" in names and names & secrets:
            yield model._meta.label


def _subclasses(base: type) -> Iterator[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in {"accounts", "tenants", "chat", "core", "console"}


def test_every_kind_of_credential_has_a_row(world: World):
    assert set(kinds_in_the_code()) == set(KINDS)
    assert set().union(*map(set, KINDS.values())) == set(world._checks())
