"""`manage.py seed_demo`: one tenant, user and key, however often it runs or is interrupted."""

import io
import re

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from config.launch import seed
from core.audit.models import SYSTEM
from tenants.models import ApiKey, Membership, Tenant

pytestmark = pytest.mark.django_db


def seed_demo(**options: object) -> str:
    output = io.StringIO()
    call_command("seed_demo", stdout=output, **options)
    return output.getvalue()


def shown(text: str, name: str) -> str:
    return re.search(rf"{name} +(\S+)", text)[1]


def test_the_shown_credentials_work():
    text = seed_demo(url="http://127.0.0.1:9")
    user = User.objects.get(email=shown(text, "e-mail"))
    assert user.check_password(shown(text, "password"))
    key = ApiKey.objects.find_by_secret(shown(text, "API key"))
    assert str(key.tenant_id) == shown(text, "tenant id")
    assert Membership.objects.get(user=user, tenant=key.tenant).role == "admin"
    assert "curl http://127.0.0.1:9/api/chat" in text


def test_a_second_run_changes_nothing_and_shows_no_secrets():
    first = seed_demo()
    second = seed_demo()
    assert shown(first, "password") not in second
    assert (User.objects.count(), Tenant.objects.count(), ApiKey.objects.count()) == (1, 1, 1)
    assert ApiKey.objects.find_by_secret(shown(first, "API key"))


def test_a_run_stopped_half_way_is_completed():
    first = seed_demo()
    user = User.objects.get(email=seed.EMAIL)
    user.set_unusable_password()  # The password is set last.
    user.save()
    second = seed_demo()
    assert shown(second, "tenant id") == shown(first, "tenant id")
    assert ApiKey.objects.find_by_secret(shown(second, "API key"))
    assert not ApiKey.objects.find_by_secret(shown(first, "API key")).is_usable


def test_renew_replaces_password_and_key():
    first = seed_demo()
    second = seed_demo(renew=True)
    assert shown(second, "tenant id") == shown(first, "tenant id")
    user = User.objects.get(email=seed.EMAIL)
    assert user.check_password(shown(second, "password"))
    assert not ApiKey.objects.find_by_secret(shown(first, "API key")).is_usable
    assert ApiKey.objects.find_by_secret(shown(second, "API key"))


def test_a_deleted_demo_is_not_created_again():
    seed_demo()
    Tenant.objects.get().soft_delete(SYSTEM)
    assert "was deleted" in seed_demo()
    assert Tenant.objects.count() == 1


def test_production_has_no_demo(settings):
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match="not for production"):
        seed_demo()
    assert not User.objects.exists()
