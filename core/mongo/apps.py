from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MongoConfig(AppConfig):
    name = "core.mongo"
    label = "mongo"
    verbose_name = "MongoDB"

    def ready(self) -> None:
        from core.mongo.cache import create_indexes  # Apps are not loaded before: it imports the database.

        post_migrate.connect(create_indexes, sender=self)
