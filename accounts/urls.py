from django.urls import path

from accounts import views

urlpatterns = [
    path("register", views.RegisterView.as_view(), name="register"),
    path("login", views.LoginView.as_view(), name="login"),
    path("refresh-token", views.RefreshView.as_view(), name="refresh-token"),
    path("logout", views.LogoutView.as_view(), name="logout"),
    path("logout-all", views.LogoutAllView.as_view(), name="logout-all"),
    path("sessions", views.SessionsView.as_view(), name="login-sessions"),
    path("profile", views.ProfileView.as_view(), name="profile"),
    path("confirm-email", views.ConfirmEmailView.as_view(), name="confirm-email"),
    path("password-reset", views.PasswordResetView.as_view(), name="password-reset"),
    path(
        "password-reset/confirm",
        views.PasswordResetConfirmView.as_view(),
        name="password-reset-confirm",
    ),
    path("change-password", views.ChangePasswordView.as_view(), name="change-password"),
]
