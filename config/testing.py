"""The settings of tests: DJANGO_ENV=test unless a test sets another, so that no `.env` is read."""

import os

os.environ.setdefault("DJANGO_ENV", "test")

from config.settings import *  # noqa: F403 - the environment comes first

PASSWORD_HASHERS = ["qa.testing.passwords.FastHasher"]
