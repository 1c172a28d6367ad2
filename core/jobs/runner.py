"""Runs the jobs of this process, each in its own thread, as it can claim them in the database."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.core.management import call_command
from django.db import DatabaseError
from prometheus_client import Counter, Gauge, Histogram
from pymongo.errors import PyMongoError

from core.jobs.models import CLAIM, Job
from core.metrics import registry

logger = logging.getLogger(__name__)

#: The pause after an error of the database.
PAUSE_SECONDS = 5.0

#: A job is polled as often as it is due, but at least this often.
MAX_POLL_SECONDS = 30.0

_runs = Counter("job_runs", "Runs of periodic jobs", ["job", "outcome"], registry=registry)
_seconds = Histogram(
    "job_seconds",
    "Seconds of a run",
    ["job"],
    buckets=(0.1, 0.5, 1, 5, 10, 60, 300, 1800, 7200),
    registry=registry,
)
_succeeded_at = Gauge(
    "job_last_success_timestamp_seconds",
    "When a job last succeeded, in Unix time",
    ["job"],
    registry=registry,
    multiprocess_mode="max",
)


def run(name: str, every: timedelta, claim: datetime) -> str:
    """Run a claimed job and record its end; return its error, "" if it succeeded."""
    output, error = io.StringIO(), ""
    began = time.monotonic()
    try:
        call_command(name, stdout=output)
    except Exception as failure:  # Whatever a command raises, the other jobs go on.
        logger.exception("job failed", extra={"job": name})
        error = f"{type(failure).__name__}: {failure}"
    _runs.labels(name, "failed" if error else "done").inc()
    _seconds.labels(name).observe(time.monotonic() - began)
    if not error:
        _succeeded_at.labels(name).set_to_current_time()
    logger.debug("job ended", extra={"job": name, "output": output.getvalue()})
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
            threading.Thread(target=self._run_when_due, args=(name, every), name=name, daemon=True).start()
        threading.Thread(target=self._renew_claims, name="claims", daemon=True).start()

    def stop(self) -> None:
        """Start no more jobs, and release those still running: commands may be stopped at any time."""
        self._stop.set()
        for name, claim in list(self._claims.items()):
            # While the database is down, claims expire by themselves.
            with contextlib.suppress(PyMongoError, DatabaseError):
                Job.objects.release(name, claim)

    def _run_when_due(self, name: str, every: timedelta) -> None:
        poll_seconds = min(every.total_seconds(), MAX_POLL_SECONDS)
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
            self._stop.wait(poll_seconds)

    def _renew_claims(self) -> None:
        while not self._stop.wait(CLAIM.total_seconds() / 4):
            for name, claim in list(self._claims.items()):
                try:
                    Job.objects.renew(name, claim)
                except (PyMongoError, DatabaseError):
                    logger.warning("a job's claim could not be renewed", extra={"job": name})
