from django.apps import AppConfig


class LaunchConfig(AppConfig):
    """The commands that start the product: serve, demo, seed_demo."""

    name = "config.launch"
    label = "launch"

    def ready(self) -> None:
        # Apps are not loaded before.
        from config import checks  # noqa: F401 - registers them
