"""Tenants in the staff's console. Every change goes through the same methods as the API's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from accounts.models import User, normalised_email
from tenants.forms import NewApiKeyForm, TenantForm
from tenants.models import ApiKey, AuditEvent, Invitation, LedgerEntry, Membership, Plan, Tenant, Usage
from tenants.models.api_key import IssuedKey
from tenants.models.audit import Actor
from tenants.models.errors import TenantRuleBroken
from tenants.models.limits import month_of, number, plain
from tenants.models.tenant import object_id

#: Tenants or people whose rows one search may show; a longer list says that the search was too broad.
FOUND_OWNERS = 100

#: How long a key rotated by staff works on.
OVERLAP = timedelta(hours=1)


class TenantOwned(admin.ModelAdmin):
    """Rows of tenants: found by the tenant's name or slug as well. Read-only unless a subclass says more."""

    search_help_text = "Beginning of the tenant's name or slug"
    search_fields = ("tenant",)  # See get_search_results.
    own_search_fields: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).prefetch_related("tenant")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        # Two queries: a filter across the relation would join the whole collection.
        term = search_term.strip()
        if not term:
            return queryset, False
        tenants = Tenant.objects.filter(Q(name__istartswith=term) | Q(slug__startswith=term.lower()))
        found = Q(tenant__in=list(tenants.values_list("pk", flat=True)[:FOUND_OWNERS]))
        for field in self.own_search_fields:
            found |= Q(**{f"{field}__istartswith": term})
        return queryset.filter(found | self.own_matches(term)), False

    def own_matches(self, term: str) -> Q:
        return Q()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """For actions, which change by domain methods what no form may."""
        return request.user.has_perm(f"tenants.change_{self.opts.model_name}")


class RulesAsMessages(admin.ModelAdmin):
    """Shows a broken rule of the domain as a message over the form."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except TenantRuleBroken as error:
            self.message_user(request, str(error.detail), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def do_to_each(
        self, request: HttpRequest, rows: QuerySet, change: Callable[[Any], Any], done: str
    ) -> None:
        """Call `change` with every row, and tell how many were `done` and what stood in the way."""
        count = 0
        for row in rows:
            try:
                change(row)
            except TenantRuleBroken as error:
                self.message_user(request, f"{row}: {error.detail}", messages.ERROR)
            else:
                count += 1
        if count:
            self.message_user(request, f"{done}: {count}.")


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin):
    list_display = (
        "name",
        "code",
        "requests_per_minute",
        "concurrent_turns",
        "messages_per_month",
        "tokens_per_month",
        "cost_per_month",
        "unpriced",
    )
    list_filter = ("unpriced", "streaming")
    search_fields = ("name", "code")
    ordering = ("code",)

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("code", "created_at", "updated_at") if obj else ()

    def save_model(self, request: HttpRequest, obj: Plan, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changes = {name: (form.initial.get(name), form.cleaned_data[name]) for name in form.changed_data}
        action = "plan.changed" if change else "plan.created"
        AuditEvent.objects.record(Actor.of(request), action, obj, changes=changes)

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        """Plans stay: tenants, past or deleted, refer to them."""
        return False


@admin.register(Tenant)
class TenantAdmin(RulesAsMessages):
    form = TenantForm
    list_display = ("name", "slug", "plan", "requested_plan", "status", "deleted_at", "created_at")
    list_filter = ("status", "plan", ("requested_plan", admin.EmptyFieldListFilter), "deleted_at")
    search_fields = ("name", "slug", "domain")
    readonly_fields = ("slug", "status", "deleted_at", "related", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("name", "slug", "domain", "allowed_origins", "related")}),
        ("Plan and state", {"fields": ("plan", "requested_plan", "status", "deleted_at")}),
        (
            "Assistant",
            {
                "fields": (
                    "system_prompt",
                    "route",
                    "temperature",
                    "max_tokens",
                    "history_messages",
                    "retention_days",
                )
            },
        ),
        ("History", {"fields": ("created_at", "updated_at")}),
    )
    actions = ("suspend", "resume", "grant_requested_plan", "delete_softly", "restore")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).prefetch_related("plan", "requested_plan")

    @admin.display(description="see")
    def related(self, tenant: Tenant) -> str:
        models = (Membership, Invitation, ApiKey, LedgerEntry, AuditEvent)
        links = [
            (
                reverse(f"admin:tenants_{m._meta.model_name}_changelist"),
                tenant.pk,
                m._meta.verbose_name_plural,
            )
            for m in models
        ]
        usage = format_html('<a href="{}">usage</a>', reverse("admin:tenants_usage_change", args=[tenant.pk]))
        lists = format_html_join(" · ", '<a href="{}?tenant__id__exact={}">{}</a>', links)
        return format_html("{} · {}", lists, usage)

    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm, change: bool) -> None:
        tenant = Tenant.objects.get(pk=obj.pk)
        new = {name: form.cleaned_data[name] for name in form.changed_data}
        action = "tenant.plan_changed" if "plan" in new else "tenant.updated"
        tenant.change(Actor.of(request), action, **new)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tenants are created by their first admin."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        """Deleting is an action here: restorable, and never a cascade."""
        return False

    @admin.action(description="Suspend: refuse all members and keys", permissions=["change"])
    def suspend(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.do_to_each(request, tenants, lambda tenant: tenant.suspend(Actor.of(request)), "Suspended")

    @admin.action(description="End the suspension", permissions=["change"])
    def resume(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.do_to_each(request, tenants, lambda tenant: tenant.resume(Actor.of(request)), "Resumed")

    @admin.action(description="Give the plan that was asked for", permissions=["change"])
    def grant_requested_plan(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        asking = tenants.exclude(requested_plan=None)
        self.do_to_each(
            request, asking, lambda tenant: tenant.move_to(tenant.requested_plan, Actor.of(request)), "Moved"
        )

    @admin.action(description="Delete: gone at once, restorable for 30 days", permissions=["change"])
    def delete_softly(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        present = tenants.filter(deleted_at=None)
        self.do_to_each(request, present, lambda tenant: tenant.delete_softly(Actor.of(request)), "Deleted")

    @admin.action(description="Restore deleted tenants", permissions=["change"])
    def restore(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.do_to_each(request, tenants, lambda tenant: tenant.restore(Actor.of(request)), "Restored")


@admin.register(Membership)
class MembershipAdmin(RulesAsMessages, TenantOwned):
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = ("role",)
    search_help_text = "Beginning of the tenant's name or slug, or of the e-mail address"
    raw_id_fields = ("tenant", "user")
    actions = ("make_admin", "make_developer", "make_viewer", "remove")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).prefetch_related("user")

    def own_matches(self, term: str) -> Q:
        people = User.objects.filter(email__startswith=normalised_email(term))
        return Q(user__in=list(people.values_list("pk", flat=True)[:FOUND_OWNERS]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.add_membership")

    def save_model(self, request: HttpRequest, obj: Membership, form: ModelForm, change: bool) -> None:
        obj.pk = Membership.objects.admit(obj.tenant, obj.user, obj.role, Actor.of(request)).pk

    def _set_role(self, request: HttpRequest, members: QuerySet[Membership], role: str) -> None:
        self.do_to_each(request, members, lambda m: m.change_role(role, Actor.of(request)), f"Now {role}")

    @admin.action(description="Make admin", permissions=["manage"])
    def make_admin(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "admin")

    @admin.action(description="Make developer", permissions=["manage"])
    def make_developer(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "developer")

    @admin.action(description="Make viewer", permissions=["manage"])
    def make_viewer(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "viewer")

    @admin.action(description="Remove from the tenant", permissions=["manage"])
    def remove(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self.do_to_each(request, members, lambda member: member.end(Actor.of(request)), "Removed")


@admin.register(Invitation)
class InvitationAdmin(RulesAsMessages, TenantOwned):
    list_display = ("email", "tenant", "role", "state", "expires_at", "created_at")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter))
    fields = (
        "tenant",
        "email",
        "role",
        "state",
        "invited_by",
        "expires_at",
        "accepted_at",
        "revoked_at",
        "created_at",
    )
    own_search_fields = ("email",)
    actions = ("revoke",)

    @admin.action(description="Withdraw", permissions=["manage"])
    def revoke(self, request: HttpRequest, invitations: QuerySet[Invitation]) -> None:
        self.do_to_each(request, invitations, lambda row: row.revoke(Actor.of(request)), "Withdrawn")


@admin.register(ApiKey)
class ApiKeyAdmin(RulesAsMessages, TenantOwned):
    """Keys are issued, rotated and revoked here. A secret is on one page, once."""

    list_display = (
        "name",
        "tenant",
        "kind",
        "environment",
        "prefix",
        "last_four",
        "state",
        "last_used_at",
        "created_at",
    )
    list_filter = ("kind", "environment", ("revoked_at", admin.EmptyFieldListFilter))
    own_search_fields = ("prefix", "name")
    raw_id_fields = ("tenant",)
    fields = (
        "tenant",
        "name",
        "kind",
        "environment",
        "prefix",
        "last_four",
        "state",
        "scopes",
        "allowed_origins",
        "allowed_networks",
        "allowed_models",
        "expires_at",
        "revoked_at",
        "replaced_by",
        "created_by",
        "last_used_at",
        "last_used_address",
        "last_used_origin",
        "created_at",
    )
    actions = ("revoke", "rotate")

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        if not key.is_usable:
            return "expired"
        return "being replaced" if key.replaced_by_id else "active"

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, **options: Any) -> type[ModelForm]:
        if obj is None:
            options["form"] = NewApiKeyForm
        return super().get_form(request, obj, **options)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return self.fields if obj else NewApiKeyForm.Meta.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm, change: bool) -> None:
        issued = ApiKey.objects.issue(by=Actor.of(request), **form.cleaned_data)
        obj.pk = issued.key.pk
        request.issued_key = issued

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._secrets_page(request, [request.issued_key], "The key works from now on.")

    @admin.action(description="Revoke: refuse from the next request on", permissions=["manage"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        usable = keys.filter(revoked_at=None)
        self.do_to_each(request, usable, lambda key: key.revoke(Actor.of(request)), "Revoked")

    @admin.action(description="Rotate: new secret, the old one works for an hour", permissions=["manage"])
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        issued: list[IssuedKey] = []
        self.do_to_each(
            request,
            keys,
            lambda key: issued.append(key.rotate(overlap=OVERLAP, by=Actor.of(request))),
            "Rotated",
        )
        if not issued:
            return None
        return self._secrets_page(request, issued, "The keys they replace work for one more hour.")

    def _secrets_page(self, request: HttpRequest, issued: list[IssuedKey], explanation: str) -> HttpResponse:
        """The one page with the secrets: not a message, which would travel in a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": "New secrets",
            "issued_keys": issued,
            "explanation": explanation,
        }
        return TemplateResponse(request, "admin/tenants/apikey/secrets.html", context)


@admin.register(Usage)
class UsageAdmin(TenantOwned):
    list_display = ("tenant", "live", "messages", "tokens", "cost", "updated_at")
    fields = ("tenant", "limits", "created_at", "updated_at")
    ordering = ("-updated_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        return super().get_queryset(request).prefetch_related("tenant__plan")

    def _this_month(self, usage: Usage, figure: str) -> str:
        return str(plain(number(usage.months.get(month_of(timezone.now()), {}).get(figure, 0))))

    @admin.display(description="messages this month")
    def messages(self, usage: Usage) -> str:
        return self._this_month(usage, "messages")

    @admin.display(description="tokens this month")
    def tokens(self, usage: Usage) -> str:
        return self._this_month(usage, "tokens")

    @admin.display(description="US dollars this month")
    def cost(self, usage: Usage) -> str:
        return self._this_month(usage, "cost")

    @admin.display(description="limits")
    def limits(self, usage: Usage) -> str:
        rows = [
            (s.name, plain(s.used), plain(s.reserved), "unlimited" if s.limit is None else plain(s.limit))
            for s in usage.standings()
        ]
        return format_html(
            "<table><thead><tr><th>limit</th><th>used</th><th>reserved</th><th>of</th></tr></thead>{}</table>",
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
        )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(TenantOwned):
    list_display = (
        "created_at",
        "tenant",
        "provider",
        "model",
        "outcome",
        "input_tokens",
        "output_tokens",
        "cost",
        "cost_basis",
    )
    list_filter = ("provider", "outcome", "cost_basis", "month")
    search_help_text = "Beginning of the tenant's name or slug, or the id of a reply or session"

    def own_matches(self, term: str) -> Q:
        pk = object_id(term)
        return Q(reply=pk) | Q(session=pk) if pk else Q()


@admin.register(AuditEvent)
class AuditEventAdmin(TenantOwned):
    list_display = ("created_at", "tenant", "actor_name", "action", "target_name", "address")
    list_filter = ("action", "target_type")
    search_help_text = "Beginning of the tenant's name or slug, of the actor, or of the target"
    own_search_fields = ("actor_name", "target_name", "request_id")
