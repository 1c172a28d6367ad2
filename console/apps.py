from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    """Django's admin app, with its label and tables, but with this project's admin site."""

    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"
    default_site = "console.site.ConsoleSite"
