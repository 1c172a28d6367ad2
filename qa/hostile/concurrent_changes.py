"""Pairs of requests that change one object at once, from the table of all routes.

In each pair the second request is answered completely between the reads and the first write of the first
one, which is the worst case of any race between them: it is certain here, and needs no luck.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.db.models import CASCADE, ForeignKey
from django.test import Client

from accounts.models import User
from accounts.tokens import AccessToken, TokenPair
from core.mongo.models import Document
from qa.command_log import CommandLog
from qa.isolation.changes import wait_until_settled
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.table import OPENAI, PUBLIC, ROUTES
from qa.testing.accounts import PASSWORD

TENANT = "api/tenants/<str:tenant_id>"
SESSION = "api/chat/sessions/<str:session_id>"
VISITOR = "api/chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>"
VISITOR_TOKENS = VISITOR.replace("visitors", "visitor-tokens")

OWN_IDENTITY = "api/chat/visitor"

#: The caller of the routes that members may not use.
_CALLERS = {
    "api/chat": "sk",
    "api/chat/tenants/<str:tenant_id>/visitor-tokens": "sk",
    OWN_IDENTITY: "visitor",
}

#: Bodies of the second of two changes, with other fields than those of the first where there are others.
_OTHER_BODIES: dict[str, dict[str, Any]] = {
    TENANT: {"domain": "other.example"},
    SESSION: {"temperature": 0.5},
    f"{TENANT}/webhooks/<str:webhook_id>": {"events": ["usage.unpriced"]},
    f"{TENANT}/members/<str:user_id>": {"role": "viewer"},
    "api/auth/profile": {"name": "Other"},
    f"{SESSION}/messages/<str:message_id>/feedback": {"rating": "up"},
}

#: Fields beside those of the table's bodies: two overrides of a session share one stored field.
_MORE_FIELDS: dict[str, dict[str, Any]] = {SESSION: {"max_tokens": 100}}

_NEW_PASSWORD = "quite another phrase"  # noqa: S105 - of a test


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    route: str

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def object_route(self) -> str:
        """The route of the object that is changed: `…/webhooks/<webhook_id>` for `…/<webhook_id>/test`."""
        return self.route[: self.route.rfind(">") + 1] or self.route

    @property
    def is_change(self) -> bool:
        return self.method in ("PUT", "PATCH")

    @property
    def group(self) -> str:
        """Operations of one group may change the same objects."""
        if "session" in self.route or self.route == "api/chat" or self.route == VISITOR:
            return "session"
        if self.route == "api/invitations/accept":
            return "invitations"
        return self.route.removeprefix(f"{TENANT}/").partition("/")[0] if TENANT in self.route else "user"

    def is_related_to(self, other: Operation) -> bool:
        if self.group == other.group:
            return True
        deletes_the_tenant = Operation("DELETE", TENANT)
        return deletes_the_tenant in (self, other) and "user" not in (self.group, other.group)


def operations() -> list[Operation]:
    """Return every operation of the table that changes an object that exists."""
    others = {"api/llm/test", "api/tenants"}
    return [
        Operation(method, route)
        for route, row in ROUTES.items()
        for method in row.allowed
        if method != "GET"
        and route not in others
        and (row.policy not in (OPENAI, PUBLIC) or route == "api/auth/refresh-token")
    ]


class World:
    """Requests operations on the objects of one tenant of the matrix's dataset."""

    def __init__(self, matrix: Matrix, commands: CommandLog) -> None:
        self.matrix = matrix
        self._commands = commands
        acme, visitor = matrix.dataset.acme, matrix.dataset.fixtures["visitor"]
        self.tenant = acme.tenant
        self.session = visitor.session
        self.reply = visitor.reply
        self.invitation_token = acme.invitation_token
        self.ids = {
            name: str(visitor.id_of(name))
            for name in (
                "tenant_id",
                "user_id",
                "invitation_id",
                "key_id",
                "webhook_id",
                "session_id",
                "message_id",
            )
        } | {"visitor_id": visitor.session.visitor}
        self._second_thread = ThreadPoolExecutor(1)
        matrix.dataset.users["admin"].password = make_password(PASSWORD)
        self._login: TokenPair
        self._tokens: dict[str, str] = {}

    def close(self) -> None:
        self._second_thread.shutdown()

    def restore(self) -> None:
        """Restore everything; sign the admin in, and register the user who is invited."""
        self.matrix.reset()
        admin = self.matrix.dataset.users["admin"]
        User.objects.filter(pk=admin.pk).update(password=admin.password)
        self._login = self.matrix.log_in("admin")
        invited = User.objects.create(email=self.matrix.dataset.acme.invitation.email)
        self._tokens = {
            "admin": self._login.access,
            "invited": str(AccessToken.of_session(invited.pk, "invited")),
        }

    def race(
        self,
        first: Operation,
        second: Operation,
        *,
        before_write: int = 1,
        first_headers: dict[str, str] | None = None,
    ) -> tuple[Answer, Answer | None]:
        """Return the answers to both; None for the second one if the first has no such write."""
        answers: list[Answer] = []
        other = first.is_change and second.is_change

        def answer_second() -> None:
            answers.append(self._second_thread.submit(self.request, second, is_other=other).result())

        with self._commands.interrupted(answer_second, before_write=before_write):
            answer = self.request(first, first_headers)
        wait_until_settled()
        return answer, answers[0] if answers else None

    def request(
        self, operation: Operation, headers: dict[str, str] | None = None, *, is_other: bool = False
    ) -> Answer:
        """Return the answer to an operation; with `is_other` its body has the other fields."""
        credential = self._credential(operation)
        body = self.body(operation, is_other=is_other)
        return self.send(operation.method, self.path(operation.route), body, credential | (headers or {}))

    def read(self, operation: Operation) -> Answer:
        """Return the object of an operation as its admin reads it."""
        return self.send("GET", self.path(operation.object_route), None, self._credential(operation))

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        client = Client(raise_request_exception=False, REMOTE_ADDR="127.0.0.1")
        data = b"" if body is None else json.dumps(body).encode()
        extra: dict[str, Any] = headers
        return Answer.of(
            client.generic(method, path, data, content_type="application/json" if data else "", **extra)
        )

    def path(self, route: str) -> str:
        return "/" + re.sub(r"<\w+:(\w+)>", lambda match: self.ids[match[1]], route)

    def body(self, operation: Operation, *, is_other: bool = False) -> dict[str, Any] | None:
        if is_other and operation.route in _OTHER_BODIES:
            required = {"name": "Renamed"} if operation == Operation("PUT", TENANT) else {}
            return required | _OTHER_BODIES[operation.route]
        if operation.route == "api/auth/change-password":
            return {"current_password": PASSWORD, "new_password": _NEW_PASSWORD}
        if operation.route == "api/auth/refresh-token":
            return {"refresh": self._login.refresh}
        if operation.route == "api/invitations/accept":
            return {"token": self.invitation_token}
        body_id = self.ids.get(ROUTES[operation.route].body_id)
        body = self.matrix.body(operation.route, operation.method, body_id)
        return None if body is None else body | _MORE_FIELDS.get(operation.route, {})

    def _credential(self, operation: Operation) -> dict[str, str]:
        if operation.route in _CALLERS:
            caller = self.matrix.dataset[_CALLERS[operation.route]]
            return caller.request_headers(caller.header)
        name = "invited" if operation.route == "api/invitations/accept" else "admin"
        return {"HTTP_AUTHORIZATION": f"Bearer {self._tokens[name]}"}


def orphans() -> list[str]:
    """Return a description of every document whose owner does not exist, found by one query."""
    owned = [
        (model, field)
        for model in apps.get_models()
        if issubclass(model, Document)
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey) and field.remote_field.on_delete is CASCADE
    ]
    (first, field), *others = owned
    stages = _without_owner(first, field)
    for model, field in others:
        union = {"coll": model._meta.db_table, "pipeline": _without_owner(model, field)}
        stages.append({"$unionWith": union})
    return [
        f"{row['model']} {row['_id']} without its {row['owner']}"
        for row in first.collection().aggregate(stages)
    ]


def _without_owner(model: type[Document], field: Any) -> list[dict[str, Any]]:
    owner = field.remote_field.model
    names = {"model": str(model._meta.verbose_name), "owner": str(owner._meta.verbose_name)}
    return [
        {"$match": {field.column: {"$ne": None}}},
        {
            "$lookup": {
                "from": owner._meta.db_table,
                "localField": field.column,
                "foreignField": "_id",
                "as": "owner",
            }
        },
        {"$match": {"owner": []}},
        {"$project": {name: {"$literal": value} for name, value in names.items()}},
    ]
