from django.apps import AppConfig


class LaunchConfig(AppConfig):
    """The commands that start the product: serve, demo, seed_demo."""

    name = "config.launch"
    label = "launch"
