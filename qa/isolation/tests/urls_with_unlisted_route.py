"""The product's routes and one without a row in the table."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import urlpatterns as product_urlpatterns


def unlisted(request: HttpRequest, tenant_id: str) -> HttpResponse:
    return HttpResponse(tenant_id)


urlpatterns = [*product_urlpatterns, path("api/tenants/<str:tenant_id>/unlisted", unlisted)]
