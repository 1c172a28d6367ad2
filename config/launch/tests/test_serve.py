"""`manage.py serve` with real processes, which are stopped and killed."""

import re
import socket

import psutil
import pytest
import requests

from qa.fake_provider.server import FakeProvider
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    assert not alive


def test_ctrl_c_stops_every_process(start):
    running = start().wait_until_ready()
    family = running.descendants()
    assert {running.child("config.launch.granian_server"), running.child("mongod")} <= set(family)
    assert running.interrupt() == 0
    assert "Stopped." in running.output
    assert_all_end(family)


def test_the_jobs_run_and_end_with_the_server(start):
    running = start(JOBS="True").wait_until_ready()
    (jobs,) = (one for one in running.descendants() if "run_jobs" in one.cmdline())
    family = running.descendants()
    assert running.interrupt() == 0
    assert jobs in family
    assert_all_end(family)


def test_all_processes_end_if_the_jobs_end(start):
    running = start(JOBS="True").wait_until_ready()
    (jobs,) = (one for one in running.descendants() if "run_jobs" in one.cmdline())
    family = running.descendants()
    jobs.kill()
    assert running.process.wait(PATIENCE_SECONDS) == 1
    assert "The jobs process ended by itself" in running.output
    assert_all_end(family)


def test_it_starts_with_reload(start):
    assert start("--reload").wait_until_ready().is_answering()


def test_sigterm_stops_every_process(start):
    running = start().wait_until_ready()
    family = running.descendants()
    running.process.terminate()
    assert running.process.wait(PATIENCE_SECONDS) == 0
    assert_all_end(family)


def test_a_second_start_fails_and_names_the_first(start):
    running = start().wait_until_ready()
    refusal = start().failure_output()
    assert f"Already running on {running.url} (pid {running.process.pid})" in refusal
    assert "VAR_DIR" in refusal
    assert running.is_answering()


def test_one_of_two_concurrent_starts_serves(start):
    both = [start(), start()]
    wait_until(lambda: any(one.process.poll() is not None for one in both), "one gives way")
    loser, winner = sorted(both, key=lambda one: one.process.poll() is None)
    assert "Already running" in loser.failure_output()
    assert winner.wait_until_ready().is_answering()


def test_one_of_two_concurrent_starts_on_one_port_serves(start, tmp_path):
    both = [start(), start(VAR_DIR=str(tmp_path / "other"))]
    wait_until(lambda: any(one.process.poll() is not None for one in both), "one gives way")
    loser, winner = sorted(both, key=lambda one: one.process.poll() is None)
    assert f"Port {winner.url.rpartition(':')[2]}" in loser.failure_output()
    assert winner.wait_until_ready().is_answering()


def test_a_port_of_another_program_is_an_error(start, environment):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        assert (
            f"Port {port} on 127.0.0.1 is taken by another program" in start(PORT=str(port)).failure_output()
        )


@pytest.mark.parametrize("port", ["0", "70000"])
def test_an_invalid_port_is_an_error(start, port):
    assert "PORT must be between 1 and 65535" in start(PORT=port).failure_output()


def test_the_demo_user_is_created_once_and_data_is_kept(start):
    first = start("--seed").wait_until_ready()
    email, password = (re.search(rf"{name} +(\S+)", first.output)[1] for name in ("e-mail", "password"))
    assert first.interrupt() == 0
    second = start("--seed").wait_until_ready()
    assert password not in second.output
    assert "were shown at the first start" in second.output
    answer = requests.post(
        f"{second.url}/api/auth/login", json={"email": email, "password": password}, timeout=30
    )
    assert answer.status_code == 200, answer.text


def test_all_processes_end_with_a_killed_supervisor(start):
    killed = start().wait_until_ready()
    family = killed.descendants()
    killed.process.kill()
    assert start().wait_until_ready().is_answering()
    assert_all_end(family)


def test_all_processes_end_with_a_killed_server(start):
    running = start().wait_until_ready()
    family = running.descendants()
    running.child("config.launch.granian_server").kill()
    assert "The server ended by itself (signal SIGKILL)" in running.failure_output()
    assert_all_end(family)
    assert start().wait_until_ready().is_answering()


def test_a_killed_worker_is_replaced(start):
    running = start().wait_until_ready()
    worker = running.child("config.launch.granian_server").children()[0]
    worker.kill()
    worker.wait(PATIENCE_SECONDS)
    wait_until(running.is_answering, "a new worker answers")
    assert running.process.poll() is None


def test_workers_killed_twice_within_a_second_are_replaced(start):
    running = start(WORKERS="2").wait_until_ready()
    server = running.child("config.launch.granian_server")
    for _ in range(2):
        wait_until(lambda: len(server.children()) == 2, "both workers run")
        for worker in server.children():
            worker.kill()
            worker.wait(PATIENCE_SECONDS)
    wait_until(running.is_answering, "a new worker answers")
    wait_until(lambda: len(server.children()) == 2, "both workers run")
    assert running.process.poll() is None


def test_a_killed_database_is_restarted(start):
    running = start().wait_until_ready()
    database = running.child("mongod")
    database.kill()
    database.wait(PATIENCE_SECONDS)
    wait_until(lambda: running.is_answering("/ready"), "the database answers again")
    assert running.process.poll() is None


def test_no_data_is_lost_if_all_processes_are_killed(start):
    first = start("--seed").wait_until_ready()
    key = re.search(r"API key +(\S+)", first.output)[1]
    for process in [first.process, *first.descendants()]:
        process.kill()
    second = start("--seed").wait_until_ready()
    assert "were shown at the first start" in second.output
    answer = requests.get(f"{second.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    assert answer.status_code == 200, answer.text


def test_an_open_stream_is_completed_before_the_server_stops(start):
    with FakeProvider() as fake:
        running = start(
            "--seed", GROQ_BASE_URL=fake.base_url("groq"), GROQ_MODEL="tokens-40-every-100ms"
        ).wait_until_ready()
        key = re.search(r"API key +(\S+)", running.output)[1]
        with requests.post(
            f"{running.url}/api/chat",
            json={"message": "Count.", "stream": True},
            headers={"X-API-Key": key},
            stream=True,
            timeout=60,
        ) as stream:
            lines = stream.iter_lines(decode_unicode=True)
            assert next(line for line in lines if line == "event: delta")
            running.process.terminate()
            wait_until(lambda: not running.is_answering(), "no new requests are taken")
            assert "event: done" in list(lines)
        assert running.process.wait(PATIENCE_SECONDS) == 0
