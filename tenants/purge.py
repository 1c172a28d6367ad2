"""Deleted tenants leave for good: every document of theirs, with a record of what there was."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

from config.mongo.models import Document
from tenants.models import AuditEvent, Tenant, Usage
from tenants.models.audit import Actor

Manifest = dict[str, int]


def purge(tenant: Tenant, by: Actor) -> Manifest:
    """Delete a tenant and all it owns; return how many documents of each kind there were.

    The manifest is recorded first, and stays. Stopped half-way, the next purge does the rest.
    Raises ValueError for a tenant that is not deleted.
    """
    if tenant.deleted_at is None:
        raise ValueError(f"{tenant} is not deleted.")
    owned = [(model.collection(), _owner_column(model)) for model in _owned()]
    manifest = {documents.name: documents.count_documents({owner: tenant.pk}) for documents, owner in owned}
    changes = {name: (count, 0) for name, count in manifest.items()}
    AuditEvent.objects.record(by, "tenant.purged", tenant, changes=changes)
    for documents, owner in owned:
        # Raw, because ledger and audit trail refuse to be deleted by anything else.
        documents.delete_many({owner: tenant.pk})
    Tenant.collection().delete_one({"_id": tenant.pk})
    return manifest


def _owned() -> Iterator[type[Document]]:
    """Every kind of document that a tenant owns: all of them carry its id."""
    for model in apps.get_models():
        columns = {field.column for field in model._meta.concrete_fields}
        if model is Usage or "tenant_id" in columns:
            yield model


def _owner_column(model: type[Document]) -> str:
    return "_id" if model is Usage else "tenant_id"
