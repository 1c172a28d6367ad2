"""The five-minute tour of the README, run as printed against a real server."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from django.conf import settings

from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer

PRINTED_URL = "http://127.0.0.1:3001"


def tour() -> str:
    """Return the shell blocks of the section as one script."""
    readme = (settings.BASE_DIR / "README.md").read_text()
    section = readme.split("## Five-minute tour")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_tour_works_as_printed(mongodb_uri: str, fake_server: FakeProvider, tmp_path):
    fake_server.reset()
    variables = {
        "GROQ_API_KEY": "test-key",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "GEMINI_API_KEY": "",
        "OPENROUTER_API_KEY": "",
    }
    with RunningServer(mongodb_uri, tmp_path, **variables) as server:
        script = tour().replace(PRINTED_URL, server.url)
        assert PRINTED_URL not in script
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
        )

    assert ran.returncode == 0, ran.stderr
    assert "event: done" in ran.stdout
    assert '"messages_per_month"' in ran.stdout
    assert len(fake_server.log()) == 3
