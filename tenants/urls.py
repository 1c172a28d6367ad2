"""Below `/api/`."""

from django.urls import path

from core.api.routers import ResourceRouter
from tenants.billing.views import UsageView
from tenants.views.api_keys import ApiKeyViewSet
from tenants.views.audit import AuditTrailView
from tenants.views.invitations import AcceptInvitationView, InvitationViewSet
from tenants.views.members import MemberListView, MemberViewSet
from tenants.views.tenants import TenantListView, TenantViewSet
from tenants.webhooks.views import WebhookViewSet

TENANT = "tenants/<str:tenant_id>"

router = ResourceRouter()
router.register("tenants", TenantViewSet, "tenant")
router.register(f"{TENANT}/members", MemberViewSet, "member")
router.register(f"{TENANT}/invitations", InvitationViewSet, "invitation")
router.register(f"{TENANT}/api-keys", ApiKeyViewSet, "api-key")
router.register(f"{TENANT}/webhooks", WebhookViewSet, "webhook")

urlpatterns = [
    # Lists whose callers or rights are not those of a single resource.
    path("tenants", TenantListView.as_view(), name="tenants"),
    path(f"{TENANT}/members", MemberListView.as_view(), name="members"),
    path("invitations/accept", AcceptInvitationView.as_view(), name="accept-invitation"),
    path(f"{TENANT}/usage", UsageView.as_view(), name="usage"),
    path(f"{TENANT}/audit", AuditTrailView.as_view(), name="audit"),
    *router.urls,
]
