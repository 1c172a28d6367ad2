"""`manage.py demo`: a complete conversation, or a clear failure."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from config.environment import VARIABLES
from core.ports import free_port
from llm import local_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def demo(**environment: str) -> subprocess.CompletedProcess[str]:
    ours = {variable.name for variable in VARIABLES}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=settings.BASE_DIR,
        env=inherited | {"WORKERS": "1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_demo_prints_a_conversation_and_its_metrics(tmp_path):
    try:
        local_model.weights()
    except local_model.NotInstalled as error:
        pytest.skip(str(error))
    result = demo(VAR_DIR=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "What is the capital of France?" in result.stdout
    assert result.stdout.count("Assistant  ") == 2
    assert result.stdout.count("- local/smollm2-135m-instruct, ") == 2
    assert "replies   2 complete, 2 attempts" in result.stdout
    assert "Stopped." in result.stdout
    assert not (tmp_path / "mongodb").exists()


def test_demo_without_a_reply_fails_with_the_reason(tmp_path):
    result = demo(
        VAR_DIR=str(tmp_path),
        OPENAI_COMPATIBLE_BASE_URL=f"http://127.0.0.1:{free_port()}/v1",
        OPENAI_COMPATIBLE_MODEL="unreachable",
    )
    assert result.returncode == 1
    assert "/messages got status 50" in result.stderr
    assert "Stopped." in result.stdout
