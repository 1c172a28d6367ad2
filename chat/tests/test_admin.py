"""The admin pages of conversations."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chat.models import ChatSession, Message


@pytest.fixture
def staff(db) -> Client:
    user = User.objects.create_superuser("staff@example.com", "a long passphrase")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def conversation(session) -> ChatSession:
    for seq, (role, text) in enumerate([("user", "<b>Hello?</b>"), ("assistant", "Good day.")], 1):
        Message.objects.create(session=session, tenant=session.tenant, seq=seq, role=role, content=text)
    return session


@pytest.mark.parametrize("model", ["chatsession", "message"])
@pytest.mark.parametrize("query", ["", "?q=Hello", "?status__exact=active", "?o=1.2"])
def test_lists_open(staff, conversation, model, query):
    assert staff.get(reverse(f"admin:chat_{model}_changelist") + query).status_code == 200


def test_a_session_shows_its_transcript(staff, conversation):
    page = staff.get(reverse("admin:chat_chatsession_change", args=[conversation.pk]))
    assert page.status_code == 200
    assert "&lt;b&gt;Hello?&lt;/b&gt;" in page.content.decode()
    assert "Good day." in page.content.decode()


def test_a_message_is_found_by_its_id(staff, conversation):
    message = conversation.messages.first()
    page = staff.get(reverse("admin:chat_message_changelist"), {"q": str(message.pk)})
    assert page.context["cl"].result_count == 1
    assert staff.get(reverse("admin:chat_message_change", args=[message.pk])).status_code == 200


def test_staff_cannot_change_messages(staff, conversation):
    message = conversation.messages.first()
    assert staff.get(reverse("admin:chat_message_add")).status_code == 403
    change = reverse("admin:chat_message_change", args=[message.pk])
    assert staff.post(change, {"content": "Changed"}).status_code == 403
    assert (
        staff.post(reverse("admin:chat_message_delete", args=[message.pk]), {"post": "yes"}).status_code
        == 403
    )


def test_deleting_a_session_deletes_its_messages(staff, conversation):
    url = reverse("admin:chat_chatsession_delete", args=[conversation.pk])
    assert staff.post(url, {"post": "yes"}).status_code == 302
    assert not ChatSession.objects.exists()
    assert not Message.objects.exists()


def test_all_models_have_a_working_admin_page(staff):
    hidden = {"contenttypes", "sessions", "admin"}
    models = [
        m for m in apps.get_models() if m._meta.app_label not in hidden and m._meta.label != "auth.Permission"
    ]
    for model in models:
        assert admin.site.is_registered(model), model
        page = staff.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
        assert page.status_code == 200, model


def test_deleting_a_session_that_is_erased_meanwhile_is_no_error(staff, conversation, commands):
    url = reverse("admin:chat_chatsession_delete", args=[conversation.pk])

    with commands.interrupted(conversation.delete):
        assert staff.post(url, {"post": "yes"}).status_code == 302
    assert not ChatSession.objects.exists()
    assert not Message.objects.exists()
