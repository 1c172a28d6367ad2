"""A request as a model can take it, by what the catalogue knows of the model."""

from __future__ import annotations

from dataclasses import replace

from llm.canonical import Request
from llm.catalogue import Model
from llm.reasoning_effort import nearest


def fitted(request: Request, model: Model) -> Request:
    """Return the request within the limits that are known of the model; its notes say what was changed."""
    notes = list(request.notes)
    limit, effort = request.max_tokens, request.reasoning_effort
    if limit and model.max_output and limit > model.max_output:
        notes.append(f"max_tokens was lowered from {limit} to {model.max_output}.")
        limit = model.max_output
    levels = model.reasoning_efforts
    if effort is not None and levels is not None and effort not in levels:
        level = nearest(effort, levels)
        change = f"changed from {effort} to {level}." if level else "left out: the model has no levels."
        notes.append(f"reasoning_effort was {change}")
        effort = level
    return replace(request, max_tokens=limit, reasoning_effort=effort, notes=tuple(notes))
