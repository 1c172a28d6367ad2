"""Deleted tenants leave for good: every document of theirs, with a record of what there was."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

from core.audit.models import Actor, AuditEvent
from core.mongo.models import Document
from tenants.models import Tenant
from tenants.models.erasure import Erasure, ErasureManifest, Scope


def purge(tenant: Tenant, by: Actor) -> ErasureManifest:
    """Delete a tenant and all it owns; return the manifest of what there was, which stays.

    Stopped half-way, `finish_purge` does the rest. Raises ValueError for a tenant that is not deleted.
    """
    if tenant.deleted_at is None:
        raise ValueError(f"{tenant} is not deleted.")
    return finish_purge(Erasure.objects.begin(tenant.pk, Scope.TENANT, tenant.slug, by), by)


def finish_purge(erasure: Erasure, by: Actor) -> ErasureManifest:
    """Delete what is left of a tenant whose purge began."""
    tenant = Tenant(pk=erasure.tenant, name=erasure.subject)
    for model in _owned():
        # Raw, because ledger and audit trail refuse to be deleted by anything else.
        erasure.remove(model.collection(), {_owner_column(model): erasure.tenant})
    erasure.remove(Tenant.collection(), {"_id": erasure.tenant})
    manifest = erasure.finish()
    changes = {name: (removed["count"], 0) for name, removed in manifest.removed.items()}
    AuditEvent.objects.record(by, "tenant.purged", tenant, changes=changes)
    return manifest


def _owned() -> Iterator[type[Document]]:
    """Every kind of document that a tenant owns: all of them carry its id."""
    for model in apps.get_models():
        columns = {field.column for field in model._meta.concrete_fields}
        if _owner_column(model) == "_id" or "tenant_id" in columns:
            yield model


def _owner_column(model: type[Document]) -> str:
    """`_id` where a tenant has one document at most, that of the tenant itself."""
    key = model._meta.pk.remote_field
    return "_id" if key and key.model is Tenant else "tenant_id"
