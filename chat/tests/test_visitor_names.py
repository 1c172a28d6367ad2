"""A site's id of a person, sent composed or decomposed: one visitor."""

from __future__ import annotations

import importlib
import unicodedata
from urllib.parse import quote

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from chat.models import ChatSession
from qa.testing.tenants import signed_in

COMPOSED = "josé.müller@école"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
FORMS = [COMPOSED, DECOMPOSED, f" {DECOMPOSED} "]


@pytest.mark.parametrize("form", FORMS)
def test_sessions_of_every_form_are_of_one_visitor(site, acme, alice, form):
    for sent in FORMS:
        opened = site.post("/api/chat/sessions", {"visitor": sent})
        assert opened.json()["visitor"] == COMPOSED

    found = signed_in(alice).get(f"/api/chat/tenants/{acme.pk}/sessions", {"visitor": form})

    assert len(found.json()["results"]) == len(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_erasing_one_form_erases_the_visitor(site, acme, alice, form):
    for sent in FORMS:
        assert site.post("/api/chat/sessions", {"visitor": sent}).status_code == 201

    erased = signed_in(alice).delete(f"/api/chat/tenants/{acme.pk}/visitors/{quote(form)}")

    assert erased.status_code == 202, erased.content
    assert not ChatSession.objects.filter(deleted_at=None).exists()


def test_the_command_erases_every_form(site, acme):
    assert site.post("/api/chat/sessions", {"visitor": COMPOSED}).status_code == 201
    call_command("erase", tenant=str(acme.pk), visitor=DECOMPOSED)
    assert not ChatSession.objects.filter(deleted_at=None).exists()


def test_tokens_of_every_form_are_of_one_visitor(site, acme, alice):
    path = f"/api/chat/tenants/{acme.pk}/visitor-tokens"
    given = [site.post(path, {"visitor": sent}) for sent in FORMS]
    assert [answer.status_code for answer in given] == [201] * len(FORMS)
    assert {answer.json()["visitor"] for answer in given} == {COMPOSED}
    assert signed_in(alice).delete(f"{path}/{quote(DECOMPOSED)}").status_code == 204


def test_stored_visitors_are_composed_by_the_migration(acme):
    names = [*FORMS, "plain", ""]
    for name in names:
        ChatSession.objects.create(tenant=acme, visitor=name)
    before = {session.pk: session.updated_at for session in ChatSession.objects.all()}

    migration = importlib.import_module("chat.migrations.0010_visitors_composed")
    with connection.schema_editor() as editor:
        migration.compose(apps, editor)

    stored = list(ChatSession.objects.order_by("id"))
    assert [session.visitor for session in stored] == [COMPOSED, COMPOSED, COMPOSED, "plain", ""]
    assert {session.pk: session.updated_at for session in stored} == before
