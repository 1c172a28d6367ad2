from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    """The Django admin with this project's site. The app is still Django's, with its label and tables."""

    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"
    default_site = "console.site.Console"
