"""Routes as clients and staff may write them, and the message that refuses each: one table for all sides."""

from __future__ import annotations

from typing import Any

#: Accepted, by every field that takes a route.
VALID_ROUTES: dict[str, list[str]] = {
    "none": [],
    "a provider's default model": ["groq"],
    "a model": ["groq/a-model"],
    "a model whose name has slashes": ["openrouter/google/gemini-flash"],
    "several targets": ["groq", "openrouter/a-model", "gemini/another"],
    "the same target twice": ["groq/a-model", "groq/a-model"],
    "the longest model name": [f"openai_compatible/{'m' * 200}"],
    "the most targets": [f"groq/model-{number}" for number in range(10)],
}

#: Refused. Each with the sentence that says why.
INVALID_ROUTES: dict[str, tuple[Any, str]] = {
    "an unknown provider": (["unknown/model"], "There is no provider 'unknown'."),
    "a valid target before an unknown one": (["groq", "unknown"], "There is no provider 'unknown'."),
    "a bare model": (["a-model"], "There is no provider 'a-model'."),
    "a provider without a model": (["groq/"], "groq has no default model."),
    "a control character": (["groq/a\u0007b"], "A model's name has at most 200 printable characters."),
    "a model name that is too long": (
        [f"groq/{'m' * 201}"],
        "A model's name has at most 200 printable characters.",
    ),
    "a target that is too long": (
        [f"groq/{'m' * 250}"],
        "Ensure this field has no more than 240 characters.",
    ),
    "too many targets": (
        [f"groq/model-{number}" for number in range(11)],
        "Ensure this field has no more than 10 elements.",
    ),
}

#: Refused where a route is JSON; a form can't express them.
INVALID_JSON_ROUTES: dict[str, tuple[Any, str]] = {
    "text": ("groq", 'Expected a list of items but got type "str".'),
    "a blank target": (["groq", " "], "This field may not be blank."),
    "a target that is not text": ([["groq"]], "Not a valid string."),
}


def messages(response: Any) -> list[str]:
    """Return the messages of an invalid request."""
    assert response.status_code == 400, response.content
    return [error["detail"] for error in response.json()["errors"]]
