"""The admin pages of sessions, messages and roll-ups, all read-only; a session can be erased."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from chat.analytics.models import Rollup, RollupCoverage
from chat.erasure import erase_session
from chat.models import ChatSession, Message
from chat.visitor_identity import VisitorIdentity
from core.api.actors import actor_of
from core.errors import NotFound
from core.mongo.ids import object_id

#: The latest messages, shown in a transcript. Earlier ones are in the list of messages.
TRANSCRIPT_MESSAGES = 200


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # Not subscriptable at run time.
    _ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(_ModelAdmin):
    """An admin without adding and changing: staff must not write in the name of a tenant's people."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not select_related: MongoDB would join the whole collection before it limits it to the page.
        return super().get_queryset(request).prefetch_related("tenant")


@admin.register(ChatSession)
class ChatSessionAdmin(ReadOnlyAdmin):
    list_display = ["title_or_id", "tenant", "visitor", "status", "message_count", "last_message_at"]
    list_filter = ["status", "last_message_at", "tenant"]
    search_fields = ["title", "visitor"]
    search_help_text = "Title, visitor, or a session's id"
    ordering = ["-last_message_at", "-id"]
    fields = [
        "tenant",
        "user",
        "visitor",
        "origin",
        "title",
        "status",
        "overrides",
        "metadata",
        "message_count",
        "last_message_at",
        "created_at",
        "transcript",
    ]
    readonly_fields = ["message_count", "last_message_at", "created_at", "transcript"]

    class Media:
        css = {"all": ["chat/transcript.css"]}

    @admin.display(description="session", ordering="title")
    def title_or_id(self, session: ChatSession) -> str:
        return str(session)

    @admin.display(description="conversation")
    def transcript(self, session: ChatSession) -> SafeString:
        newest = session.messages.order_by("-seq")[:TRANSCRIPT_MESSAGES]
        context = {
            "messages": list(newest)[::-1],
            "earlier_count": max(0, session.message_count - TRANSCRIPT_MESSAGES),
            "messages_url": reverse("admin:chat_message_changelist") + f"?session__id__exact={session.pk}",
        }
        return render_to_string("admin/chat/transcript.html", context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return found_by_id(queryset, search_term) or super().get_search_results(
            request, queryset, search_term
        )

    def get_deleted_objects(
        self, objs: Sequence[Any] | QuerySet[Any, Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Return the sessions: their messages are deleted too, although staff may not delete one alone."""
        return [str(session) for session in objs], {"chat sessions": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: ChatSession) -> None:
        with contextlib.suppress(NotFound):  # erased by another request meanwhile
            erase_session(obj, actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for session in queryset:
            self.delete_model(request, session)


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = [
        "excerpt",
        "tenant",
        "role",
        "status",
        "provider",
        "model",
        "latency_ms",
        "created_at",
    ]
    list_filter = ["role", "status", "provider", "created_at", "tenant"]
    search_fields = ["content"]
    search_help_text = "Words of the text, or a message's id"
    ordering = ["-created_at", "-id"]
    exclude = [
        "idempotency_digest",
        "fingerprint",
        "settled",
        "reservation",
        "lease_until",
        "cancel_requested",
    ]

    @admin.display(description="message")
    def excerpt(self, message: Message) -> str:
        return message.content[:80] or "(empty)"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return found_by_id(queryset, search_term) or super().get_search_results(
            request, queryset, search_term
        )

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: a conversation with a gap would be sent to the model as if it had none."""
        return False


def found_by_id(queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool] | None:
    """Return the search result for an id, None if the term is not one."""
    pk = object_id(search_term.strip())
    return None if pk is None else (queryset.filter(pk=pk), False)


class DerivedAdmin(ReadOnlyAdmin):
    """Stored metrics, for debugging."""

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: the metrics of deleted conversations cannot be counted again."""
        return False


@admin.register(Rollup)
class RollupAdmin(DerivedAdmin):
    list_display = ["tenant", "kind", "start", "end", "is_fresh"]
    list_filter = ["kind", "is_fresh"]
    ordering = ["-start", "-id"]


@admin.register(RollupCoverage)
class RollupCoverageAdmin(DerivedAdmin):
    list_display = ["tenant", "since", "until"]


@admin.register(VisitorIdentity)
class VisitorIdentityAdmin(ReadOnlyAdmin):
    """Who holds tokens; a site revokes them by the API, and erasing a visitor does."""

    list_display = ["visitor", "tenant", "origin", "expires_at", "created_at"]
    list_filter = ["expires_at", "tenant"]
    search_fields = ["visitor"]
    ordering = ["-created_at", "-id"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
