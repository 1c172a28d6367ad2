"""`manage.py serve` with real processes, which are stopped and killed."""

import re
import resource
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


def test_it_starts_with_reload_and_ctrl_c_stops_every_process(start):
    running = start("--reload", JOBS="True").wait_until_ready()
    assert running.is_answering()
    family = running.descendants()
    jobs = [one for one in family if "run_jobs" in one.cmdline()]
    assert len(jobs) == 1
    assert {running.child("config.launch.granian_server"), running.child("mongod")} <= set(family)
    assert running.interrupt() == 0
    assert "Stopped." in running.output
    assert_all_end(family)


def test_a_low_limit_of_open_files_lowers_the_number_of_connections(start):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    running = start(STREAMS="100", CONNECTIONS=str(hard)).wait_until_ready()
    assert f"A worker takes {hard - 612} connections instead of {hard}" in running.output
    assert running.child("config.launch.granian_server").rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


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


def test_the_demo_is_created_once_and_no_data_is_lost_by_a_stop_or_a_kill(start, tmp_path):
    def serve():
        return start("--seed", VAR_DIR=str(tmp_path / "var")).wait_until_ready()

    first = serve()
    email, password, key = (
        re.search(rf"{name} +(\S+)", first.output)[1] for name in ("e-mail", "password", "API key")
    )
    assert first.interrupt() == 0
    second = serve()
    assert password not in second.output
    assert "were shown at the first start" in second.output
    login = requests.post(
        f"{second.url}/api/auth/login", json={"email": email, "password": password}, timeout=30
    )
    assert login.status_code == 200, login.text
    for process in [second.process, *second.descendants()]:
        process.kill()
    third = serve()
    assert "were shown at the first start" in third.output
    models = requests.get(f"{third.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    assert models.status_code == 200, models.text


def test_all_processes_end_with_a_killed_supervisor_or_server_and_it_starts_again(start):
    first = start().wait_until_ready()
    family = first.descendants()
    first.process.kill()
    second = start().wait_until_ready()
    assert second.is_answering()
    assert_all_end(family)

    family = second.descendants()
    second.child("config.launch.granian_server").kill()
    assert "The server ended by itself (signal SIGKILL)" in second.failure_output()
    assert_all_end(family)
    assert start().wait_until_ready().is_answering()


def test_sigterm_stops_every_process_after_open_streams_are_completed(start, tmp_path):
    with FakeProvider() as fake:
        running = start(
            "--seed",
            VAR_DIR=str(tmp_path / "var"),
            GROQ_BASE_URL=fake.base_url("groq"),
            GROQ_MODEL="tokens-40-every-100ms",
        ).wait_until_ready()
        family = running.descendants()
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
        assert_all_end(family)
