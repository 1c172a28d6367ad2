"""A product that runs: processes of it that die are replaced, and no second one starts beside it."""

import pytest

from core.ports import free_port
from qa.testing.server import ServeProcess
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_second_start_fails_and_names_the_first(running, start):
    refusal = start(VAR_DIR=running.environment["VAR_DIR"], PORT=str(free_port())).failure_output()
    assert f"Already running on {running.url} (pid {running.process.pid})" in refusal
    assert "VAR_DIR" in refusal
    assert running.is_answering()


def test_a_killed_worker_is_replaced(running):
    worker = workers(running)[0]
    worker.kill()
    worker.wait(PATIENCE_SECONDS)
    wait_until(lambda: len(workers(running)) == 2, "both workers run")
    wait_until(running.is_answering, "a worker answers")
    assert running.process.poll() is None


def test_workers_killed_twice_within_a_second_are_replaced(running):
    for _ in range(2):
        wait_until(lambda: len(workers(running)) == 2, "both workers run")
        for worker in workers(running):
            worker.kill()
            worker.wait(PATIENCE_SECONDS)
    wait_until(running.is_answering, "a new worker answers")
    wait_until(lambda: len(workers(running)) == 2, "both workers run")
    assert running.process.poll() is None


def test_a_killed_database_is_restarted(running):
    database = running.child("mongod")
    database.kill()
    database.wait(PATIENCE_SECONDS)
    wait_until(lambda: running.is_answering("/ready"), "the database answers again")
    assert running.process.poll() is None


def workers(product: ServeProcess) -> list:
    return product.child("config.launch.granian_server").children()
