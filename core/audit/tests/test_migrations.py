"""The audit trail moves from the app tenants to the app audit; what is stored stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from bson import ObjectId
from django.conf import settings
from django.db import connection
from pymongo.database import Database

EVENTS = "tenants_auditevent"
BEFORE_THE_MOVE = ("tenants", "0006_audit_refusals")

pytestmark = pytest.mark.slow


@pytest.fixture
def database(mongodb_uri) -> Iterator[Database]:
    """A new database that is migrated to the last state before the move and holds events and staff rights."""
    client = connection.connection
    database = client[f"{connection.settings_dict['NAME']}_audit"]
    try:
        migrate(mongodb_uri, database, *BEFORE_THE_MOVE)
        add_events(database)
        add_staff_group(database)
        yield database
    finally:
        client.drop_database(database.name)


def migrate(mongodb_uri: str, database: Database, *target: str) -> None:
    uri = urlsplit(mongodb_uri)._replace(path=f"/{database.name}").geturl()
    environment = {**os.environ, "MONGODB_URI": uri, "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0", *target]
    subprocess.run(command, env=environment, cwd=settings.BASE_DIR, check=True)


def add_events(database: Database) -> None:
    event = {"action": "tenant.updated", "target_type": "tenant", "target_id": "1", "changes": {}}
    database[EVENTS].insert_many(
        [
            {**event, "tenant_id": ObjectId(), "actor_id": ObjectId(), "once": None},
            {**event, "tenant_id": None, "actor_id": None, "once": "denial"},
        ]
    )


def add_staff_group(database: Database) -> None:
    """Add a group that may view events, nothing else."""
    group = database["auth_group"].insert_one({"name": "Auditors"}).inserted_id
    content_type = database["django_content_type"].find_one({"model": "auditevent"})
    right = {"content_type_id": content_type["_id"], "codename": "view_auditevent"}
    permission = database["auth_permission"].find_one(right)
    database["auth_group_permissions"].insert_one({"group_id": group, "permission_id": permission["_id"]})


def rights_of_staff(database: Database) -> list[tuple[str, str]]:
    """Return app label and codename of every permission of a group."""
    rights = []
    for granted in database["auth_group_permissions"].find():
        permission = database["auth_permission"].find_one({"_id": granted["permission_id"]})
        content_type = database["django_content_type"].find_one({"_id": permission["content_type_id"]})
        rights.append((content_type["app_label"], permission["codename"]))
    return rights


def labels(database: Database) -> list[str]:
    return [row["app_label"] for row in database["django_content_type"].find({"model": "auditevent"})]


def permissions(database: Database) -> list[dict]:
    """Return the permissions to events, of whichever app."""
    return list(database["auth_permission"].find({"codename": {"$regex": "_auditevent$"}}).sort("_id"))


def test_events_indexes_and_rights_of_staff_survive_the_move(mongodb_uri, database):
    events, indexes = list(database[EVENTS].find()), database[EVENTS].index_information()
    granted = permissions(database)
    assert rights_of_staff(database) == [("tenants", "view_auditevent")]

    migrate(mongodb_uri, database)

    assert list(database[EVENTS].find()) == events
    assert database[EVENTS].index_information() == indexes
    assert permissions(database) == granted
    assert rights_of_staff(database) == [("audit", "view_auditevent")]
    assert labels(database) == ["audit"]


def test_the_move_can_be_repeated_and_reversed(mongodb_uri, database):
    before = list(database[EVENTS].find()), database[EVENTS].index_information(), permissions(database)

    migrate(mongodb_uri, database)
    database["django_migrations"].delete_one({"app": "audit"})  # As if it had stopped before it was noted.
    migrate(mongodb_uri, database)
    assert labels(database) == ["audit"]

    migrate(mongodb_uri, database, *BEFORE_THE_MOVE)
    assert labels(database) == ["tenants"]
    assert (
        list(database[EVENTS].find()),
        database[EVENTS].index_information(),
        permissions(database),
    ) == before


def test_a_new_database_has_the_same_indexes(database):
    assert connection.database[EVENTS].index_information() == database[EVENTS].index_information()
