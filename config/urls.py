"""The URL prefixes of all apps."""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularSwaggerSplitView

from accounts.pages import ConfirmEmailPage, InvitationPage, PasswordResetPage
from chat.openai.views import unknown_path
from config import health

# Swagger UI has an inline style sheet; its scripts follow the policy.
documentation = health.read_only(
    csp_update({"style-src": ["'unsafe-inline'"]})(SpectacularSwaggerSplitView.as_view(url_name="schema"))
)

urlpatterns = [
    path("api/auth/", include("accounts.urls")),
    path("api/", include("tenants.urls")),
    path("api/", include("chat.urls")),
    path("api/", include("llm.urls")),
    path("v1", unknown_path),
    path("v1/", include("chat.openai.urls")),
    path("api/schema", health.SchemaView.as_view(), name="schema"),
    path("api/docs", documentation, name="docs"),
    path("admin/", admin.site.urls),
    path("invitation", csrf_exempt(InvitationPage.as_view()), name="invitation-page"),
    path("password-reset", csrf_exempt(PasswordResetPage.as_view()), name="password-reset-page"),
    path("confirm-email", csrf_exempt(ConfirmEmailPage.as_view()), name="confirm-email-page"),
    path("health", csrf_exempt(health.health)),
    path("ready", csrf_exempt(health.ready)),
    path("status", csrf_exempt(health.status)),
    path("metrics", csrf_exempt(health.prometheus_metrics)),
]

handler400 = "core.api.errors.bad_request"
handler403 = "core.api.errors.permission_denied"
handler404 = "core.api.errors.not_found"
handler500 = "core.api.errors.server_error"
