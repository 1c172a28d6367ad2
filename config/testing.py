"""The settings of tests: DJANGO_ENV=test unless a test sets another, so that no `.env` is read."""

import os

os.environ.setdefault("DJANGO_ENV", "test")

from config.settings import *  # noqa: F403 - the environment comes first

PASSWORD_HASHERS = ["qa.testing.passwords.FastHasher"]

# On a busy machine the database may take long to answer, which must not become a 503 of some test.
DATABASES["default"]["OPTIONS"] |= {"serverSelectionTimeoutMS": 30_000, "connectTimeoutMS": 30_000}  # noqa: F405 - as above
