from django.apps import AppConfig


class QaConfig(AppConfig):
    """Tools that test the product as a whole, with their commands. Not installed in production."""

    name = "qa"
