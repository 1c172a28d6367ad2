"""The product's routes and one that nobody has stated."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import urlpatterns as stated


def unstated(request: HttpRequest, tenant_id: str) -> HttpResponse:
    return HttpResponse(tenant_id)


urlpatterns = [*stated, path("api/tenants/<str:tenant_id>/unstated", unstated)]
