from django.apps import AppConfig


class QaConfig(AppConfig):
    """What tests and proves the product, and the commands that run it. No part of production."""

    name = "qa"
