"""Below /api/."""

from django.urls import path

from tenants import views
from tenants.webhooks import views as webhooks

urlpatterns = [
    path("tenants", views.Tenants.as_view(), name="tenants"),
    path("tenants/<str:tenant_id>", views.TenantDetail.as_view(), name="tenant"),
    path("tenants/<str:tenant_id>/members", views.Members.as_view(), name="members"),
    path("tenants/<str:tenant_id>/members/<str:user_id>", views.Member.as_view(), name="member"),
    path("tenants/<str:tenant_id>/invitations", views.Invitations.as_view(), name="invitations"),
    path(
        "tenants/<str:tenant_id>/invitations/<str:invitation_id>",
        views.InvitationDetail.as_view(),
        name="invitation",
    ),
    path("invitations/accept", views.AcceptInvitation.as_view(), name="accept-invitation"),
    path("tenants/<str:tenant_id>/api-keys", views.ApiKeys.as_view(), name="api-keys"),
    path("tenants/<str:tenant_id>/api-keys/<str:key_id>", views.ApiKeyDetail.as_view(), name="api-key"),
    path(
        "tenants/<str:tenant_id>/api-keys/<str:key_id>/rotate",
        views.RotateApiKey.as_view(),
        name="rotate-api-key",
    ),
    path("tenants/<str:tenant_id>/webhooks", webhooks.Webhooks.as_view(), name="webhooks"),
    path(
        "tenants/<str:tenant_id>/webhooks/<str:webhook_id>", webhooks.WebhookDetail.as_view(), name="webhook"
    ),
    path(
        "tenants/<str:tenant_id>/webhooks/<str:webhook_id>/test",
        webhooks.TestWebhook.as_view(),
        name="test-webhook",
    ),
    path("tenants/<str:tenant_id>/usage", views.UsageDetail.as_view(), name="usage"),
    path("tenants/<str:tenant_id>/audit", views.AuditTrail.as_view(), name="audit"),
]
