"""Jobs: each runs in one process at a time, also after a kill, and none blocks the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.utils import timezone

from core.jobs.models import CLAIM, RETRY, Job
from core.jobs.runner import Runner, run
from qa.testing.concurrency import run_concurrently
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

DAY = timedelta(days=1)


def test_every_job_is_a_command():
    assert set(settings.JOBS) <= set(get_commands())


def test_a_new_job_is_due_at_once_and_then_after_its_interval(db):
    claim = Job.objects.claim("prune")
    Job.objects.finish("prune", claim, DAY)

    assert Job.objects.claim("prune") is None
    job = Job.objects.get()
    assert (job.due_at, job.outcome, job.claimed_until) == (claim + DAY, "done", None)


@pytest.mark.django_db
def test_one_of_many_concurrent_claims_succeeds():
    claims = run_concurrently(*[lambda: Job.objects.claim("prune")] * 8)

    assert len([claim for claim in claims if claim]) == 1


def test_the_claim_of_a_killed_process_expires(db):
    claim = Job.objects.claim("prune")
    Job.objects.filter(pk="prune").update(claimed_until=timezone.now() + timedelta(seconds=1))
    assert Job.objects.claim("prune") is None

    Job.objects.filter(pk="prune").update(claimed_until=timezone.now() - timedelta(seconds=1))

    again = Job.objects.claim("prune")
    assert again
    # If the process lives after all, it can't finish the job that another one has claimed.
    Job.objects.finish("prune", claim, DAY)
    assert Job.objects.get().claimed_until == again + CLAIM


def test_a_released_job_is_due(db):
    Job.objects.release("prune", Job.objects.claim("prune"))

    assert Job.objects.claim("prune")


def test_a_claim_is_renewed(db):
    claim = Job.objects.claim("prune")
    Job.objects.filter(pk="prune").update(claimed_until=claim)

    Job.objects.renew("prune", claim)

    assert Job.objects.get().claimed_until > claim


def test_a_failed_job_has_its_error_and_is_retried_soon(db):
    claim = Job.objects.claim("no_such_command")

    error = run("no_such_command", DAY, claim)

    job = Job.objects.get()
    assert job.outcome == error == "CommandError: Unknown command: 'no_such_command'"
    assert job.due_at == claim + RETRY


def test_a_failing_job_does_not_block_others(db):
    runner = Runner({"no_such_command": DAY, "prune": DAY})
    runner.start()
    try:
        wait_until(lambda: Job.objects.filter(outcome="done").exists(), "prune is done")
        wait_until(lambda: Job.objects.filter(outcome__contains="Unknown").exists(), "the other has failed")
    finally:
        runner.stop()


def test_due_jobs_run_once(db, capsys):
    call_command("run_jobs")

    assert capsys.readouterr().out.splitlines() == [f"{name}: done" for name in settings.JOBS]
    call_command("run_jobs")
    assert capsys.readouterr().out == ""


def test_the_command_fails_if_a_job_fails(db, settings, capsys):
    settings.JOBS = {"no_such_command": DAY, "prune": DAY}

    with pytest.raises(CommandError, match="failed: no_such_command"):
        call_command("run_jobs")
    assert "prune: done" in capsys.readouterr().out


@pytest.mark.slow
def test_the_loop_runs_jobs_until_sigterm(db, database_uri):
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_jobs", "--loop"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"MONGODB_URI": database_uri},
    )
    try:
        wait_until(lambda: Job.objects.filter(outcome="done").count() == len(settings.JOBS), "all are done")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not Job.objects.exclude(claimed_until=None).exists()
