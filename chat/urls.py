from django.urls import path

from chat.analytics.views import AnalyticsView
from chat.views.erasure import ErasureView, VisitorView
from chat.views.messages import MessageViewSet, TenantMessagesView
from chat.views.sessions import SessionViewSet, TenantSessionsView
from chat.views.simple import SimpleChatView

session = SessionViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
)

urlpatterns = [
    path("chat", SimpleChatView.as_view({"post": "create"}), name="simple-chat"),
    path("chat/sessions", SessionViewSet.as_view({"post": "create"}), name="chat-sessions"),
    path("chat/sessions/<str:session_id>", session, name="chat-session"),
    path(
        "chat/sessions/<str:session_id>/export",
        SessionViewSet.as_view({"get": "export"}),
        name="chat-session-export",
    ),
    path(
        "chat/sessions/<str:session_id>/messages",
        MessageViewSet.as_view({"get": "list", "post": "create"}),
        name="chat-messages",
    ),
    path(
        "chat/sessions/<str:session_id>/messages/<str:message_id>",
        MessageViewSet.as_view({"get": "retrieve"}),
        name="chat-message",
    ),
    *(
        path(
            f"chat/sessions/<str:session_id>/messages/<str:message_id>/{action}",
            MessageViewSet.as_view({method: action}),
            name=f"chat-message-{action}",
        )
        for method, action in (
            ("get", "stream"),
            ("post", "cancel"),
            ("post", "retry"),
            ("put", "feedback"),
        )
    ),
    path(
        "chat/tenants/<str:tenant_id>/sessions",
        TenantSessionsView.as_view({"get": "list"}),
        name="tenant-sessions",
    ),
    path(
        "chat/tenants/<str:tenant_id>/analytics",
        AnalyticsView.as_view(),
        name="tenant-analytics",
    ),
    path(
        "chat/tenants/<str:tenant_id>/messages",
        TenantMessagesView.as_view({"get": "list"}),
        name="tenant-messages",
    ),
    path(
        # A visitor's name is the site's own and may hold a slash.
        "chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>",
        VisitorView.as_view(),
        name="tenant-visitor",
    ),
    path(
        "chat/tenants/<str:tenant_id>/erasures/<str:erasure_id>",
        ErasureView.as_view(),
        name="tenant-erasure",
    ),
]
