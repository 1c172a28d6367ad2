"""What a client probably meant: the field that it named differently, and the values that a field takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from rest_framework import serializers

#: Names that other APIs have for what is called differently here, each with the names to look for.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("content", "text", "prompt", "input", "query", "question", "messages"), ("message",)),
    **dict.fromkeys(("session", "conversation", "conversation_id", "thread_id", "chat_id"), ("session_id",)),
    **dict.fromkeys(("system", "instructions", "system_message"), ("system_prompt",)),
    **dict.fromkeys(("max_completion_tokens", "max_output_tokens", "num_predict"), ("max_tokens",)),
    **dict.fromkeys(("user", "user_id", "visitor_id", "customer"), ("visitor", "user")),
    **dict.fromkeys(("models", "providers", "targets"), ("route", "model", "allowed_models")),
    **dict.fromkeys(("username", "login", "mail", "e_mail"), ("email",)),
    **dict.fromkeys(("refresh_token", "refreshtoken"), ("refresh",)),
    **dict.fromkeys(("full_name", "first_name", "label", "title"), ("name",)),
    **dict.fromkeys(("origins", "domains"), ("allowed_origins",)),
    **dict.fromkeys(("permissions", "rights"), ("scopes",)),
    **dict.fromkeys(("type",), ("kind",)),
    **dict.fromkeys(("score", "vote", "thumb"), ("rating",)),
}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

#: Longer names resemble none of ours, and comparing them takes quadratic time.
_MAX_NAME_CHARS = 40

#: More values are not listed.
_MAX_CHOICES = 20


def probably_meant(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the `known` fields that `name` was probably meant to be."""
    if len(name) > _MAX_NAME_CHARS:
        return None
    fields = list(known)
    plain = _HUMP.sub("_", name).replace("-", "_").lower()
    candidates = (plain, *_SYNONYMS.get(plain, ()), *get_close_matches(plain, fields, n=1, cutoff=0.75))
    return next((candidate for candidate in candidates if candidate in fields), None)


def name_choices(field: serializers.Field[Any, Any, Any, Any]) -> None:
    """Have the errors of a field of choices, or of the items of its list, name the values that it takes."""
    field = getattr(field, "child", field)
    if isinstance(field, serializers.ChoiceField) and 0 < len(field.choices) <= _MAX_CHOICES:
        listed = ", ".join(str(choice) for choice in field.choices if choice != "")
        field.error_messages["invalid_choice"] = (
            f'"{{input}}" is not a valid choice. Choose one of: {listed}.'
        )
