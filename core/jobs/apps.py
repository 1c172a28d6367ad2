from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Periodic background jobs."""

    name = "core.jobs"
    label = "jobs"
    verbose_name = "Operations"
