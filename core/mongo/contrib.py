"""Django's own apps with ObjectId keys; their migrations are in core.mongo.contrib_migrations."""

from django.contrib.auth.apps import AuthConfig as DjangoAuthConfig
from django.contrib.contenttypes.apps import ContentTypesConfig as DjangoContentTypesConfig

OBJECT_ID = "django_mongodb_backend.fields.ObjectIdAutoField"


class AuthConfig(DjangoAuthConfig):
    default_auto_field = OBJECT_ID


class ContentTypesConfig(DjangoContentTypesConfig):
    default_auto_field = OBJECT_ID
