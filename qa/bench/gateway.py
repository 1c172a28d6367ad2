"""This server with everything stored, against a gateway in use today that stores nothing, in one run.

    python -m venv var/litellm && var/litellm/bin/pip install "litellm[proxy]"
    python qa/bench/gateway.py --litellm var/litellm/bin/litellm [--rounds 5]

Both stand before the same fake provider with two workers each, are asked by the same load generator and
take turns, round by round, so that whatever else the machine does hits both. Printed are medians over the
rounds, and the gateway's figure as a multiple of ours. CPU is the user and system time of the workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import psutil
import requests
from bson import ObjectId

from core.ports import free_port
from qa.bench.turns import PLAIN, STREAMED, TOKENS, Bench, Sample, at_once, call, stage

START_SECONDS = 120
#: It starts with none but a long one, though nothing is behind it here.
MASTER_KEY = "sk-" + "0123456789abcdef" * 4
PLAIN_CALLS, PLAIN_WIDTH = 100, 8
STREAMS = 50


class LiteLLM:
    """LiteLLM's proxy as its documentation sets it up: two workers, no database, no callbacks."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self._url = url
        self._process = process

    def send(self, *, stream: bool) -> Awaitable[Sample]:
        model = STREAMED if stream else PLAIN
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "How long?"}]}
        first, whole = (b"word1", b"[DONE]") if stream else (b"200", b'"stop"')
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        return call(f"{self._url}/v1/chat/completions", headers, body, first, whole)

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
        for name in (PLAIN, STREAMED)
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


def _await(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise SystemExit("LiteLLM's proxy did not start.")


def measure(
    calls: int,
    width: int,
    one: Callable[[int], Awaitable[Sample]],
    cpu_seconds: Callable[[], float],
    await_end: Callable[[], None] = lambda: None,
) -> tuple[float, float, float]:
    """Return CPU milliseconds a call, the median milliseconds to the first token, and the complete share."""
    before = cpu_seconds()
    samples = at_once(calls, width, one)
    await_end()
    cpu = (cpu_seconds() - before) * 1000 / calls
    first = statistics.median(sample.first for sample in samples) * 1000
    return cpu, first, sum(sample.whole for sample in samples) / calls


def compare(what: str, share: int, ours: list, theirs: list) -> None:
    """Print medians; CPU for a call divided by `share`."""
    for name, place, unit in (("CPU, ms", 0, share), ("first token, ms", 1, 1)):
        mine, other = (statistics.median(row[place] for row in rows) / unit for rows in (ours, theirs))
        print(f"{f'{what}: {name}':<52} ours {mine:8.3f}   litellm {other:8.3f}   {other / mine:5.2f}x")
    shares = [min(row[2] for row in rows) for rows in (ours, theirs)]
    print(f"{f'{what}: complete, worst round':<52} ours {shares[0]:8.1%}   litellm {shares[1]:8.1%}")


def run(bench: Bench, proxy: LiteLLM, rounds: int) -> None:
    sessions = [bench.session() for _ in range(STREAMS)]
    for what, calls, width, stream, share in (
        ("a plain answer", PLAIN_CALLS, PLAIN_WIDTH, False, 1),
        (f"{STREAMS} streams, a token", STREAMS, STREAMS, True, TOKENS),
    ):
        ours, theirs = [], []
        for _ in range(rounds + 1):  # the first warms both up
            mine = partial(_ours, bench, sessions, stream)
            ours.append(measure(calls, width, mine, bench.cpu_seconds, bench.await_settlement))
            theirs.append(measure(calls, width, lambda n, s=stream: proxy.send(stream=s), proxy.cpu_seconds))
        compare(what, share, ours[1:], theirs[1:])


def _ours(bench: Bench, sessions: Sequence[ObjectId], stream: bool, number: int) -> Awaitable[Sample]:
    return bench.send(sessions[number % len(sessions)], stream=stream)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--litellm", required=True, help="the program `litellm`")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with stage() as bench, litellm(options.litellm, bench.fake_url) as proxy:
        run(bench, proxy, options.rounds)


if __name__ == "__main__":
    main()
