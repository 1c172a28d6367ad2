from django.urls import path

from llm import views

urlpatterns = [
    path("llm/providers", views.Providers.as_view(), name="llm-providers"),
    path("llm/test", views.TestProviders.as_view(), name="llm-test"),
]
