"""Every test starts with the same database, and only with the fixture that asks for it."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection

from qa.snapshot import drop_abandoned

NO_PROCESS = 2**22 + 1  # Process ids of Linux are at most 2**22.


@pytest.mark.django_db
@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.parametrize("database", ["db", "transactional_db"])
def test_a_test_does_not_see_data_of_another(turn, database, request):
    request.getfixturevalue(database)
    assert not Group.objects.exists()
    assert cache.add("seen", 1)
    Group.objects.create(name="left behind")


@pytest.mark.django_db
@pytest.mark.parametrize("turn", ["first", "second"])
def test_documents_of_migrations_are_restored(turn):
    assert Permission.objects.filter(codename="add_group").exists()
    assert ContentType.objects.filter(model="group").exists()
    Permission.objects.all().delete()
    ContentType.objects.filter(model="group").update(model="changed")


def test_a_test_without_a_database_fixture_cannot_connect():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        Group.objects.count()
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        cache.get("key")


@pytest.mark.django_db
def test_only_databases_of_killed_runs_are_dropped():
    client = connection.connection
    client[f"test_{NO_PROCESS}"].probe.insert_one({})
    client["kept"].probe.insert_one({})
    drop_abandoned(client)
    left = client.list_database_names()
    client.drop_database("kept")
    assert f"test_{NO_PROCESS}" not in left
    assert {"kept", connection.settings_dict["NAME"]} <= set(left)
