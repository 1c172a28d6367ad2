from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MongoConfig(AppConfig):
    name = "core.mongo"
    label = "mongo"
    verbose_name = "MongoDB"

    def ready(self) -> None:
        # Apps are not loaded before: these import the database.
        from core.mongo import checks  # noqa: F401 - registers them
        from core.mongo.cache import create_indexes

        post_migrate.connect(create_indexes, sender=self)
