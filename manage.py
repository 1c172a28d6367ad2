#!/usr/bin/env python
"""Django's entry point for management commands. A wrong set-up ends them with a sentence."""

import os
import sys


def main() -> None:
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import DatabaseError
        from pymongo.errors import PyMongoError
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here. Run make setup, then .venv/bin/python manage.py.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except (DatabaseError, PyMongoError):
        # Its own import needs settings.
        from core.mongo.deployment import database_problem

        if (problem := database_problem()) is None:
            raise
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
