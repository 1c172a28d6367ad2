"""This server, which stores everything, compared with a gateway in wide use that stores nothing, in one run.

    python -m venv var/litellm && var/litellm/bin/pip install "litellm[proxy]"
    python -m qa.bench.gateway --litellm var/litellm/bin/litellm [--rounds 5]

Both run two workers in front of the same fake provider, are called by the same load generator and
alternate round by round, so that other load of the machine affects both. Printed are medians over the
rounds, and the gateway's figure as a multiple of ours. CPU is the user and system time of the workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import requests

from core.ports import free_port
from qa.bench.load_generator import Call, Sample, call, make_calls
from qa.bench.turns import PLAIN_MODEL, STREAMED_MODEL, TOKENS, Installation, installation

Row = tuple[float, float, float]

START_SECONDS = 120
#: LiteLLM does not start with a shorter one.
MASTER_KEY = "sk-" + "0123456789abcdef" * 4
PLAIN_CALLS, PLAIN_CONCURRENCY = 100, 8
STREAMS = 50


class LiteLLM:
    """LiteLLM's proxy as its documentation sets it up: two workers, no database, no callbacks."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self._url = url
        self._process = process

    def send(self, *, stream: bool) -> Awaitable[Sample]:
        model = STREAMED_MODEL if stream else PLAIN_MODEL
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "How long?"}]}
        first, complete = (b"word1", b"[DONE]") if stream else (b"200", b'"stop"')
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        return call(f"{self._url}/v1/chat/completions", headers, body, first, complete)

    def cpu_seconds(self) -> float:
        times = [one.cpu_times() for one in (self._process, *self._process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


@contextmanager
def litellm(program: str, fake_url: str) -> Iterator[LiteLLM]:
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": fake_url, "api_key": "x"},
        }
        for name in (PLAIN_MODEL, STREAMED_MODEL)
    ]
    port = free_port()
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"  # JSON is YAML
        general = {"master_key": MASTER_KEY}
        config.write_text(json.dumps({"model_list": models, "general_settings": general}))
        command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--num_workers", "2"],
            env=os.environ | quiet,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _await(f"{url}/health/liveliness", process)
            yield LiteLLM(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise SystemExit("LiteLLM's proxy did not start.")


def measure(
    calls: Sequence[Call],
    concurrency: int,
    cpu_seconds: Callable[[], float],
    await_end: Callable[[], None] = lambda: None,
) -> Row:
    """Return CPU milliseconds a call, the median milliseconds to the first token, and the complete share."""
    before = cpu_seconds()
    samples = make_calls(calls, concurrency)
    await_end()
    cpu = (cpu_seconds() - before) * 1000 / len(calls)
    first = statistics.median(sample.first for sample in samples) * 1000
    return cpu, first, sum(sample.is_complete for sample in samples) / len(calls)


def compare(what: str, divisor: int, ours: list[Row], theirs: list[Row]) -> None:
    """Print medians over the rounds; the CPU time of a call is divided by `divisor`."""
    for name, column, unit in (("CPU, ms", 0, divisor), ("first token, ms", 1, 1)):
        mine, other = (statistics.median(row[column] for row in rows) / unit for rows in (ours, theirs))
        print(f"{f'{what}: {name}':<52} ours {mine:8.3f}   litellm {other:8.3f}   {other / mine:5.2f}x")
    complete = [min(row[2] for row in rows) for rows in (ours, theirs)]
    print(f"{f'{what}: complete, worst round':<52} ours {complete[0]:8.1%}   litellm {complete[1]:8.1%}")


def run(installed: Installation, proxy: LiteLLM, rounds: int) -> None:
    sessions = [installed.create_session() for _ in range(STREAMS)]
    for what, count, concurrency, stream, divisor in (
        ("a plain answer", PLAIN_CALLS, PLAIN_CONCURRENCY, False, 1),
        (f"{STREAMS} streams, a token", STREAMS, STREAMS, True, TOKENS),
    ):
        calls = [partial(installed.send, sessions[n % STREAMS], stream=stream) for n in range(count)]
        proxied = [partial(proxy.send, stream=stream)] * count
        ours, theirs = [], []
        for _ in range(rounds + 1):  # the first warms both up
            ours.append(measure(calls, concurrency, installed.cpu_seconds, installed.await_settlement))
            theirs.append(measure(proxied, concurrency, proxy.cpu_seconds))
        compare(what, divisor, ours[1:], theirs[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--litellm", required=True, help="the program `litellm`")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with installation() as installed, litellm(options.litellm, installed.fake_url) as proxy:
        run(installed, proxy, options.rounds)


if __name__ == "__main__":
    main()
