"""Transactions that are repeated while they conflict with others."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError
from django_mongodb_backend.transaction import atomic

from core.errors import Conflict
from core.mongo.engine.errors import is_transient

_TRIES = 50

Result = TypeVar("Result")


def in_transaction(change: Callable[[], Result], *, too_busy: type[Exception] = Conflict) -> Result:
    """Return `change()`, run in a transaction. Its queries and changes see one state of the database.

    It is repeated if another transaction has changed the same documents, so it must have no effect outside
    the database. Raises `too_busy` after too many repetitions.
    """
    for _ in range(_TRIES):
        try:
            with atomic():
                return change()
        except DatabaseError as error:
            if not is_transient(error):
                raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter, not a secret
    raise too_busy
