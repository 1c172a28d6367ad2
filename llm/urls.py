from django.urls import path

from llm import views

urlpatterns = [
    path("llm/providers", views.ProvidersView.as_view(), name="llm-providers"),
    path("llm/test", views.ProviderTestView.as_view(), name="llm-test"),
]
