"""Below /api/."""

from django.urls import path

from chat.analytics.views import AnalyticsView
from chat.views.erasure import ErasureView, VisitorView
from chat.views.messages import MessageViewSet, TenantMessageViewSet
from chat.views.sessions import SessionViewSet, TenantSessionViewSet
from chat.views.simple import SimpleChatView
from chat.views.visitors import OwnIdentityView, OwnSessionsView, VisitorTokensOfView, VisitorTokensView
from core.api.routers import ResourceRouter

router = ResourceRouter(action_name="{basename}-{url_name}")
router.register("chat/sessions", SessionViewSet, "chat-session")
router.register("chat/sessions/<str:session_id>/messages", MessageViewSet, "chat-message")
router.register("chat/tenants/<str:tenant_id>/sessions", TenantSessionViewSet, "tenant-session")
router.register("chat/tenants/<str:tenant_id>/messages", TenantMessageViewSet, "tenant-message")

urlpatterns = [
    path("chat", SimpleChatView.as_view(), name="simple-chat"),
    *router.urls,
    path("chat/tenants/<str:tenant_id>/analytics", AnalyticsView.as_view(), name="tenant-analytics"),
    # A visitor's id is chosen by the site and may contain a slash.
    path(
        "chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>",
        VisitorView.as_view(),
        name="tenant-visitor",
    ),
    path("chat/tenants/<str:tenant_id>/visitor-tokens", VisitorTokensView.as_view(), name="visitor-tokens"),
    path(
        "chat/tenants/<str:tenant_id>/visitor-tokens/<path:visitor_id>",
        VisitorTokensOfView.as_view(),
        name="visitor-tokens-of",
    ),
    path("chat/visitor", OwnIdentityView.as_view(), name="own-identity"),
    path("chat/visitor/sessions", OwnSessionsView.as_view({"get": "list"}), name="own-sessions"),
    path(
        "chat/tenants/<str:tenant_id>/erasures/<str:erasure_id>", ErasureView.as_view(), name="tenant-erasure"
    ),
]
