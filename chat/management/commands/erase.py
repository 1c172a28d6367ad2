"""Erase one visitor, user or session, or all conversations of a tenant."""

from __future__ import annotations

import json
from typing import Any

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from chat import erasure
from chat.models import ChatSession
from core.audit.models import SYSTEM
from core.mongo.ids import object_id
from core.text import normalised_identifier
from tenants.models import ErasureManifest, Tenant


class Command(BaseCommand):
    help = (
        "Erase data of a tenant permanently and print the manifest of what was removed. "
        "If interrupted, the same command or the next `prune` finishes the erasure."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="id of the tenant")
        subject = parser.add_mutually_exclusive_group(required=True)
        subject.add_argument("--visitor", help="all sessions of a visitor of the tenant's site")
        subject.add_argument("--user", help="all sessions of a user in this tenant, by id or e-mail address")
        subject.add_argument("--session", help="id of a session")
        subject.add_argument("--all", action="store_true", help="all sessions, with their metrics")

    def handle(self, *args: Any, tenant: str, **options: Any) -> None:
        found = Tenant.objects.filter(pk=object_id(tenant)).first()
        if found is None:
            raise CommandError(f"{tenant}: no such tenant.")
        manifest = self._erase(found, options)
        self.stdout.write(json.dumps(manifest.data(), indent=2))

    def _erase(self, tenant: Tenant, options: dict[str, Any]) -> ErasureManifest:
        if options["visitor"] is not None:
            if not options["visitor"]:
                raise CommandError("--visitor: must not be empty.")
            return erasure.erase_visitor(tenant.pk, normalised_identifier(options["visitor"]), SYSTEM)
        if options["user"] is not None:
            return erasure.erase_user(tenant.pk, _user_id(options["user"]), SYSTEM)
        if options["session"] is not None:
            return erasure.erase_session(_session(tenant, options["session"]), SYSTEM)
        return erasure.erase_chat(tenant.pk, SYSTEM)


def _user_id(name: str) -> ObjectId:
    """Return the user's id. Any id is accepted, since sessions may refer to deleted accounts."""
    if pk := object_id(name):
        return pk
    user = User.objects.filter(email=name.lower()).first()
    if user is None:
        raise CommandError(f"{name}: no such user. Use the id for a deleted account.")
    user_id: ObjectId = user.pk
    return user_id


def _session(tenant: Tenant, name: str) -> ChatSession:
    pk = object_id(name)
    session: ChatSession | None = ChatSession.objects.filter(tenant=tenant, pk=pk).first()
    if session is None:
        raise CommandError(f"{name}: no such session of this tenant.")
    return session
