"""Erasure of visitors by a tenant's admins."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from chat.erasure import erase_visitor
from chat.models import ChatSession
from chat.visitor_identity import VisitorIdentity
from core.api.actors import actor_of
from core.mongo.ids import object_id
from core.text import normalised_identifier
from tenants.access.rights import ADMINISTER
from tenants.access.views import TenantScopedView
from tenants.models import Erasure, ErasureManifest
from tenants.models.erasure import ErasureScope


class CountSerializer(serializers.Serializer[Any]):
    """How many documents of a collection, and when the first and the last were created."""

    count = serializers.IntegerField()
    first = serializers.DateTimeField()
    last = serializers.DateTimeField()


class ManifestSerializer(serializers.Serializer[Any]):
    """What an erasure removed, and which documents it kept without what identifies the person (`cleared`)."""

    id = serializers.CharField()
    tenant_id = serializers.CharField()
    scope = serializers.ChoiceField(choices=ErasureScope.choices)
    subject_digest = serializers.CharField()
    asked_by = serializers.CharField()
    asked_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    removed = serializers.DictField(child=CountSerializer())
    cleared = serializers.DictField(child=CountSerializer())


class VisitorView(TenantScopedView):
    records_changes = True
    rights = {"DELETE": ADMINISTER}

    @extend_schema(
        operation_id="chat_visitor_erase",
        summary="Erase a visitor",
        description="Deletes its sessions and tokens; ledger and analytics stay, without the visitor.",
        tags=["chat"],
        responses={202: ManifestSerializer},
    )
    def delete(self, request: Request, tenant_id: str, visitor_id: str) -> Response:
        access = self.get_access()
        visitor_id = normalised_identifier(visitor_id)
        tenant = access.tenant
        own = ChatSession.objects.visible_to(access).filter(visitor=visitor_id)
        begun = Erasure.objects.filter(tenant=tenant.pk, scope=ErasureScope.VISITOR, subject=visitor_id)
        known = VisitorIdentity.objects.of_visitor(tenant.pk, visitor_id)
        if not own.exists() and not begun.exists() and not known.exists():
            raise NotFound
        manifest = erase_visitor(tenant.pk, visitor_id, actor_of(request))
        location = reverse("tenant-erasure", args=[tenant.pk, manifest.pk])
        return Response(manifest.data(), status=202, headers={"Location": location})


class ErasureView(TenantScopedView):
    rights = {"GET": ADMINISTER}

    @extend_schema(
        operation_id="chat_erasure",
        summary="What an erasure removed",
        description="The counts so far while `finished_at` is null, then the final manifest, which is kept.",
        tags=["chat"],
        responses=ManifestSerializer,
    )
    def get(self, request: Request, tenant_id: str, erasure_id: str) -> Response:
        tenant = self.get_tenant()
        for kind in (Erasure, ErasureManifest):
            if found := kind.objects.filter(tenant=tenant.pk, pk=object_id(erasure_id)).first():
                return Response(found.data())
        raise NotFound
