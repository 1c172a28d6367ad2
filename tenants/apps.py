from corsheaders.signals import check_request_enabled
from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from tenants import schema  # noqa: F401 - importing registers it
        from tenants.cors import allow_origin

        check_request_enabled.connect(allow_origin, dispatch_uid="tenants.cors")
