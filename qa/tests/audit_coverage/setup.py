"""The objects that the changes need, created on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.test import Client
from rest_framework.response import Response
from rest_framework.test import APIClient

from accounts.mailed_tokens import CONFIRMATION, PASSWORD_RESET, token_for
from accounts.models import User
from chat.models import ChatSession
from chat.visitor_identity import VisitorIdentity
from core.audit.models import AuditEvent
from qa.testing.accounts import PASSWORD
from qa.testing.tenants import by, fellow_member, issue, signed_in
from tenants.models import ApiKey, Invitation, Tenant, Webhook

NOTHING_CHANGES = "Changes nothing."
NEW_WEBHOOK = {"url": "https://hooks.example/", "events": ["api_key.issued"]}


@dataclass
class Setup:
    """Alice administers Acme and is signed in; bob is a viewer there; eve is not a member."""

    acme: Tenant
    alice: User
    bob: User

    @cached_property
    def client(self) -> APIClient:
        return signed_in(self.alice)

    @cached_property
    def tenant(self) -> str:
        return f"/api/tenants/{self.acme.pk}"

    @cached_property
    def eve(self) -> User:
        return User.objects.create_user("eve@example.com", PASSWORD)

    @cached_property
    def fellow_member(self) -> User:
        """A member of another tenant of Alice's."""
        return fellow_member(self.alice)

    @cached_property
    def key(self) -> ApiKey:
        return issue(self.acme, self.alice).key

    @cached_property
    def webhook(self) -> Webhook:
        return Webhook.objects.register(self.acme, by=by(self.alice), **NEW_WEBHOOK).webhook

    @cached_property
    def session(self) -> ChatSession:
        return ChatSession.objects.create(tenant=self.acme, visitor="v_1")

    @cached_property
    def invitation(self) -> Invitation:
        return self.invite().invitation

    def invite(self) -> Any:
        return Invitation.objects.send(self.acme, email="eve@example.com", role="viewer", by=by(self.alice))

    def accept_invitation(self) -> Response:
        return signed_in(self.eve).post("/api/invitations/accept", {"token": self.invite().token})

    def revoke_visitor_tokens(self) -> Response:
        VisitorIdentity.objects.keep(self.acme.pk, "v_1", self.key.pk, "")
        return self.client.delete(f"/api/chat/tenants/{self.acme.pk}/visitor-tokens/v_1")

    def test_providers(self) -> Response:
        User.objects.filter(pk=self.alice.pk).update(is_staff=True)
        return self.client.post("/api/llm/test", {"provider": "openai_compatible"})

    def log_in(self) -> Response:
        body = {"email": self.eve.email, "password": PASSWORD}
        return self.client.post("/api/auth/login", body)

    def logged_in_client(self) -> Client:
        """Return a client of Alice with a login session that the database has."""
        self.alice.set_password(PASSWORD)
        self.alice.save()
        client = Client()
        body = {"email": self.alice.email, "password": PASSWORD}
        tokens = client.post("/api/auth/login", body, "application/json").json()
        client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {tokens['access']}"
        return client

    def log_out(self) -> Any:
        return self.logged_in_client().post("/api/auth/logout", {}, "application/json")

    def change_password(self) -> Any:
        body = {"current_password": PASSWORD, "new_password": "quite another phrase"}
        return self.logged_in_client().put("/api/auth/change-password", body, "application/json")

    def confirm_email(self) -> Any:
        User.objects.filter(pk=self.eve.pk).update(email_confirmed=False)
        token = token_for(User.objects.get(pk=self.eve.pk), CONFIRMATION)
        return self.client.post("/api/auth/confirm-email", {"token": token})

    def reset_password(self) -> Any:
        body = {"token": token_for(self.eve, PASSWORD_RESET), "new_password": "quite another phrase"}
        return self.client.post("/api/auth/password-reset/confirm", body)


def acme_with(**state: Any) -> Callable[[Setup], Tenant]:
    """Return a function that sets these attributes of Acme and returns it."""

    def update(setup: Setup) -> Tenant:
        setup.acme.update(
            **{name: value(setup) if callable(value) else value for name, value in state.items()}
        )
        return setup.acme

    return update


def event_of_request(action: str) -> AuditEvent:
    """Return the only event of a request with this action; events of the setup have no address."""
    (event,) = AuditEvent.objects.filter(action=action).exclude(address="")
    return event
