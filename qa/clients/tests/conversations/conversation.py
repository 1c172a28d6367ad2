"""What the conversations of all clients have in common: questions, tools, and how they are requested.

A client is a process. Each line of its input is a JSON object with the `scenario` to run, `model`, `url` and
`key`; its answer is a line with the `result` or the `error`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import BaseModel

QUESTION = "Hello"
TOOL_QUESTION = "How is it in Paris?"
#: One red pixel.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmM"
    "IQAAAABJRU5ErkJggg=="
)
#: The beginning of a document and of a recording.
PDF = "data:application/pdf;base64,JVBERi0xLjQK"
SOUND = "UklGRiQAAABXQVZFZm10IA=="


class Place(BaseModel):
    city: str
    people: int


class Request(NamedTuple):
    """Which model to ask, and where."""

    model: str
    url: str
    key: str


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


def clock(zone: str) -> str:
    """Return the time in a zone."""
    return f"nine in {zone}"


TOOLS: dict[str, Callable[..., str]] = {"weather": weather, "clock": clock}


def _schema(name: str, argument: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


TOOL_SCHEMAS = [_schema("weather", "city"), _schema("clock", "zone")]


def called(name: str, arguments: str) -> str:
    """Return the result of a tool call."""
    return TOOLS[name](**json.loads(arguments))


def serve(scenarios: dict[str, Callable[[Request], Any]]) -> None:
    """Run the scenarios that the input requests, until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # What packages print is not an answer.
    for line in sys.stdin:
        request = json.loads(line)
        scenario = request.pop("scenario")
        try:
            answer = {"result": scenarios[scenario](Request(**request))}
        except Exception:  # Whatever a package raises is what the test is to show.
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
