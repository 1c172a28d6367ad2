"""Purging: deletes every document of a tenant that was deleted before, and keeps a manifest."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

from core.audit.models import Actor, AuditEvent
from core.mongo.models import Document
from tenants.models import Tenant
from tenants.models.erasure import Erasure, ErasureManifest, ErasureScope


def purge(tenant: Tenant, by: Actor) -> ErasureManifest:
    """Delete a tenant and everything it owns; return the manifest, which is kept.

    After a crash `finish_purge` completes it. Raises ValueError for a tenant that is not deleted.
    """
    if tenant.deleted_at is None:
        raise ValueError(f"{tenant} is not deleted.")
    return finish_purge(Erasure.objects.begin(tenant.pk, ErasureScope.TENANT, tenant.slug, by), by)


def finish_purge(erasure: Erasure, by: Actor) -> ErasureManifest:
    """Delete what is left of a tenant whose purge was started."""
    tenant = Tenant(pk=erasure.tenant, name=erasure.subject)
    for model in _owned_models():
        # By raw commands, because the models of ledger and audit trail refuse deletion.
        erasure.remove(model.collection(), {_owner_column(model): erasure.tenant})
    erasure.remove(Tenant.collection(), {"_id": erasure.tenant})
    manifest = erasure.finish()
    changes = {name: (removed["count"], 0) for name, removed in manifest.removed.items()}
    AuditEvent.objects.record(by, "tenant.purged", tenant, changes=changes)
    return manifest


def _owned_models() -> Iterator[type[Document]]:
    """Yield every model whose documents belong to a tenant: they have its id."""
    for model in apps.get_models():
        columns = {field.column for field in model._meta.concrete_fields}
        if issubclass(model, Document) and (_owner_column(model) == "_id" or "tenant_id" in columns):
            yield model


def _owner_column(model: type[Document]) -> str:
    """Return `_id` for models with at most one document per tenant, whose id is the tenant's."""
    key = model._meta.pk
    return "_id" if key.remote_field and key.remote_field.model is Tenant else "tenant_id"
