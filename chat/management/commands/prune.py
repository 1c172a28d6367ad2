"""Delete conversations whose retention period is over."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import erasure, retention
from chat.kept_data import recount
from core.jobs.set_aside import serve_each
from core.mongo.ids import object_id
from tenants.models import Erasure, Tenant, Usage
from tenants.models.erasure import ErasureScope


class Command(BaseCommand):
    help = (
        "Delete conversations that have been inactive for the retention period of their tenant or its plan. "
        "Also finishes interrupted erasures. May be stopped at any time; the next run continues."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="id of a tenant; default: all")
        parser.add_argument("--dry-run", action="store_true", help="only count the sessions that are due")
        parser.add_argument(
            "--batch", type=int, default=retention.BATCH_SESSIONS, help="sessions deleted at a time"
        )

    def handle(self, *args: Any, tenant: str | None, dry_run: bool, batch: int, **options: Any) -> None:
        if batch < 1:
            raise CommandError("--batch: must be at least 1.")
        tenants = Tenant.objects.select_related("plan").order_by("pk")
        if tenant is not None:
            tenants = tenants.filter(pk=object_id(tenant))
            if not tenants:
                raise CommandError(f"{tenant}: no such tenant.")
        ids = list(tenants.values_list("pk", flat=True))
        problems = [] if dry_run else [self._finish_erasures(ids)]
        problems.append(
            serve_each(
                "prune",
                ids,
                lambda tenant_id: self._serve(tenants.get(pk=tenant_id), dry_run, batch),
                key=str,
                tenant=lambda tenant_id: tenant_id,
            ).problem
        )
        if any(problems):
            raise CommandError(" ".join(filter(None, problems)))

    def _serve(self, tenant: Tenant, dry_run: bool, batch: int) -> None:
        days = retention.retention_days(tenant)
        kept = "keeps all" if days is None else f"keeps {days} days"
        self.stdout.write(f"{tenant.pk} {tenant.slug} {kept}: {self._prune(tenant, dry_run, batch)}")

    def _prune(self, tenant: Tenant, dry_run: bool, batch: int) -> str:
        if dry_run:
            return f"{retention.count_due(tenant)} sessions are due"
        manifest = retention.prune(tenant, batch)
        if Usage.objects.of(tenant).kept_counted_at is None:
            recount(tenant.pk)
        removed = manifest.removed if manifest else {}
        sessions, messages = (
            removed.get(name, {}).get("count", 0) for name in ("chat_chatsession", "chat_message")
        )
        return f"{sessions} sessions, {messages} messages removed"

    def _finish_erasures(self, tenant_ids: list[ObjectId]) -> str:
        """Finish the erasures that were interrupted; return which could not be."""
        unfinished = Erasure.objects.filter(tenant__in=tenant_ids)
        return serve_each(
            "unfinished erasures",
            unfinished.exclude(scope__in=[ErasureScope.RETENTION, ErasureScope.TENANT]),
            self._finish,
            key=lambda each: each.pk,
            tenant=lambda each: each.tenant,
        ).problem

    def _finish(self, unfinished: Erasure) -> None:
        self.stdout.write(f"{unfinished.tenant} erasure {erasure.resume(unfinished).pk} finished")
