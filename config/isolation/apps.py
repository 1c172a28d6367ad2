from django.apps import AppConfig


class IsolationConfig(AppConfig):
    """The matrix of who may do what, and the command that runs it."""

    name = "config.isolation"
    label = "isolation"
