from django.urls import path

from accounts import views

urlpatterns = [
    path("register", views.Register.as_view(), name="register"),
    path("login", views.Login.as_view(), name="login"),
    path("refresh-token", views.Refresh.as_view(), name="refresh-token"),
    path("logout", views.Logout.as_view(), name="logout"),
    path("logout-all", views.LogoutAll.as_view(), name="logout-all"),
    path("sessions", views.Sessions.as_view(), name="login-sessions"),
    path("profile", views.Profile.as_view(), name="profile"),
    path("change-password", views.ChangePassword.as_view(), name="change-password"),
]
