"""Jobs of this process: each in a thread of its own, due ones claimed from the database."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.core.management import call_command
from django.db import DatabaseError
from pymongo.errors import PyMongoError

from core.jobs.models import CLAIM, Job

logger = logging.getLogger(__name__)

#: How long the database is left alone when it is away.
PAUSE_SECONDS = 5.0

#: A job that is due every few seconds is looked at as often, one a day not less than this.
MOST_SECONDS = 30.0


def run(name: str, every: timedelta, claim: datetime) -> str:
    """Run a claimed job and note its end; return what went wrong, "" if nothing did."""
    told, error = io.StringIO(), ""
    try:
        call_command(name, stdout=told)
    except Exception as failure:  # Whatever a command raises, the others go on.
        logger.exception("job failed", extra={"job": name})
        error = f"{type(failure).__name__}: {failure}"
    logger.debug("job ended", extra={"job": name, "told": told.getvalue()})
    Job.objects.finish(name, claim, every, error)
    return error


class Runner:
    """Runs the jobs of a schedule (command -> how often) until it is stopped."""

    def __init__(self, schedule: Mapping[str, timedelta]) -> None:
        self._schedule = schedule
        self._stop = threading.Event()
        self._claims: dict[str, datetime] = {}

    def start(self) -> None:
        for name, every in self._schedule.items():
            threading.Thread(target=self._keep_running, args=(name, every), name=name, daemon=True).start()
        threading.Thread(target=self._keep_claims, name="claims", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more, and give back what still runs: commands may be stopped at any time."""
        self._stop.set()
        for name, claim in list(self._claims.items()):
            # With the database away the claim runs out by itself.
            with contextlib.suppress(PyMongoError, DatabaseError):
                Job.objects.give_back(name, claim)

    def _keep_running(self, name: str, every: timedelta) -> None:
        pause = min(every.total_seconds(), MOST_SECONDS)
        while not self._stop.is_set():
            try:
                if claim := Job.objects.claim(name):
                    self._claims[name] = claim
                    run(name, every, claim)
            except (PyMongoError, DatabaseError):
                logger.warning("jobs wait for the database", extra={"job": name})
                self._stop.wait(PAUSE_SECONDS)
            finally:
                self._claims.pop(name, None)
            self._stop.wait(pause)

    def _keep_claims(self) -> None:
        while not self._stop.wait(CLAIM.total_seconds() / 4):
            for name, claim in list(self._claims.items()):
                try:
                    Job.objects.renew(name, claim)
                except (PyMongoError, DatabaseError):
                    logger.warning("a job's claim could not be renewed", extra={"job": name})
