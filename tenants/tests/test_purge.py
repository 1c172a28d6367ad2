"""Purging removes everything that a deleted tenant owns, and nothing of other tenants."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from bson import ObjectId
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from core.audit.models import SYSTEM, AuditEvent
from qa.testing.tenants import by, issue
from tenants.models import Erasure, ErasureManifest, LedgerEntry, Membership, Tenant, Usage
from tenants.models.erasure import ErasureScope
from tenants.purge import purge


def fill(tenant, user) -> None:
    issue(tenant, user)
    tenant.invitations.create(email="x@example.com", role="viewer", digest="0", expires_at=timezone.now())
    Usage.objects.admit(tenant, reservation_id=ObjectId(), tokens=1, cost=Decimal(0), lease_seconds=1)
    LedgerEntry.objects.create(
        tenant=tenant, month="2026-11", reply=ObjectId(), provider="groq", outcome="complete"
    )


def documents_naming(tenant) -> dict[str, int]:
    names = {"$or": [{"_id": tenant.pk}, {"tenant_id": tenant.pk}]}
    counts = {name: connection.database[name].count_documents(names) for name in _collections()}
    return {name: count for name, count in counts.items() if count}


def _collections() -> list[str]:
    return connection.database.list_collection_names()


def run(*options) -> str:
    out = StringIO()
    call_command("purge_tenants", *options, stdout=out)
    return out.getvalue()


def deleted_for(tenant, days) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(deleted_at=timezone.now() - timedelta(days=days))


def test_everything_the_tenant_owns_is_removed_and_nothing_else(acme, umbrella, alice, mallory):
    fill(acme, alice)
    fill(umbrella, mallory)
    others = documents_naming(umbrella)
    deleted_for(acme, days=31)

    assert str(acme.pk) in run()

    assert documents_naming(acme) == {}
    assert documents_naming(umbrella) == others
    assert len(others) >= 7


def test_the_manifest_is_kept(acme, alice):
    fill(acme, alice)
    deleted_for(acme, days=31)
    run()

    event = AuditEvent.objects.get(action="tenant.purged")
    assert (event.target_id, event.tenant_id) == (str(acme.pk), None)
    assert event.changes["tenants_membership"] == [3, 0]
    assert event.changes["tenants_ledgerentry"] == [1, 0]


def test_a_tenant_that_can_still_be_restored_is_kept(acme):
    deleted_for(acme, days=29)

    assert run() == ""
    assert Tenant.objects.filter(pk=acme.pk).exists()


def test_a_tenant_in_use_is_never_purged(acme, alice):
    with pytest.raises(ValueError):
        purge(acme, SYSTEM)

    acme.soft_delete(by(alice))
    acme.restore(by(alice))
    with pytest.raises(ValueError):
        purge(acme, SYSTEM)


def test_a_dry_run_only_lists_the_tenants(acme):
    deleted_for(acme, days=31)

    assert str(acme.pk) in run("--dry-run")
    assert Tenant.objects.filter(pk=acme.pk).exists()


def test_an_interrupted_purge_is_finished_by_the_next_with_a_complete_manifest(acme, alice):
    fill(acme, alice)
    deleted_for(acme, days=31)
    begun = Erasure.objects.begin(acme.pk, ErasureScope.TENANT, acme.slug, SYSTEM)
    for kind in (Membership, Tenant):  # The process dies here, after the tenant itself was removed.
        begun.remove(kind.collection(), {"tenant_id" if kind is Membership else "_id": acme.pk})

    run()

    assert documents_naming(acme) == {}
    manifest = ErasureManifest.objects.get(pk=begun.pk)
    assert manifest.removed["tenants_membership"]["count"] == 3
    assert manifest.removed["tenants_tenant"]["count"] == 1
    assert manifest.removed["tenants_ledgerentry"]["count"] == 1
    assert not Erasure.objects.exists()
