"""Reading and changing the profile."""

import pytest

from accounts.models import User
from accounts.serializers import UserSerializer
from qa.testing.accounts import problem_fields


def test_the_profile_is_the_callers(laptop, alice):
    response = laptop.get("profile")

    assert response.status_code == 200
    assert set(response.data) == {"id", "email", "name", "created_at", "updated_at"}
    assert response.data["id"] == str(alice.pk)
    assert response.json()["created_at"].endswith("Z")


@pytest.mark.parametrize("method", ["put", "patch"])
def test_the_name_can_be_changed(laptop, alice, method):
    response = getattr(laptop, method)("profile", {"name": "Alice Liddell"})

    assert response.status_code == 200
    assert response.data["name"] == "Alice Liddell"
    alice.refresh_from_db()
    assert alice.name == "Alice Liddell"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"email": "new@example.com"}, "read_only_field"),
        ({"id": "0" * 24}, "read_only_field"),
        ({"is_staff": True}, "unknown_field"),
        ({"password": "another long password"}, "unknown_field"),
        ({"name": 5}, "invalid"),
        ({"name": None}, "null"),
        ({"name": "n" * 101}, "max_length"),
    ],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_each_invalid_field_is_named(laptop, alice, method, change, code):
    [field] = change
    response = getattr(laptop, method)("profile", {"name": "Other", **change})

    assert problem_fields(response)[field] == [code]
    alice.refresh_from_db()
    assert alice.name == "Alice"


def test_a_change_does_not_undo_a_deactivation(alice):
    read_before = User.objects.get(pk=alice.pk)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    serializer = UserSerializer(read_before, data={"name": "Alice Liddell"})
    serializer.is_valid(raise_exception=True)
    serializer.save()

    alice.refresh_from_db()
    assert alice.name == "Alice Liddell"
    assert not alice.is_active


def test_a_change_of_an_outdated_state_is_rejected(laptop):
    seen = laptop.get("profile")["ETag"]
    changed = laptop.put("profile", {"name": "First"}, HTTP_IF_MATCH=seen)
    assert changed.status_code == 200
    assert changed["ETag"] == laptop.get("profile")["ETag"] != seen

    assert laptop.put("profile", {"name": "Second"}, HTTP_IF_MATCH=seen).status_code == 412
    assert laptop.get("profile").data["name"] == "First"


@pytest.mark.parametrize("method", ["get", "put", "patch"])
def test_the_profile_requires_authentication(stranger, method):
    assert getattr(stranger, method)("profile").status_code == 401


def test_other_methods_are_not_allowed(laptop):
    assert laptop.post("profile", {}).status_code == 405


@pytest.mark.parametrize("method", ["put", "patch"])
def test_fields_that_are_not_sent_stay_as_they_are(laptop, method):
    before = laptop.get("profile").data

    response = getattr(laptop, method)("profile", {})

    assert response.status_code == 200
    assert response.data["name"] == before["name"]
