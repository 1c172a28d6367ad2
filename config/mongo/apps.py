from django.apps import AppConfig


class MongoConfig(AppConfig):
    name = "config.mongo"
    label = "mongo"
    verbose_name = "MongoDB"
