from django.apps import AppConfig


class JobsConfig(AppConfig):
    """What runs again and again without anybody waiting for it."""

    name = "core.jobs"
    label = "jobs"
    verbose_name = "Operations"
