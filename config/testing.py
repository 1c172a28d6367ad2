"""The settings that tests run with: nobody's `.env`, and DJANGO_ENV=test unless a test says otherwise."""

import os

os.environ.setdefault("DJANGO_ENV", "test")

from config.settings import *  # noqa: F403 - the environment comes first
