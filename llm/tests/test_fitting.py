"""Requests within what the catalogue knows of a model."""

import pytest

from llm.canonical import Target
from llm.catalogue import Model
from llm.fitting import fitted
from llm.reasoning_effort import nearest
from qa.testing.llm import asking


@pytest.mark.parametrize(
    ("effort", "levels", "chosen"),
    [
        ("high", ("none", "default"), "default"),
        ("low", ("none", "default"), "default"),
        ("none", ("low", "medium", "high"), "low"),
        ("minimal", ("low", "medium", "high"), "low"),
        ("max", ("low", "medium", "high"), "high"),
        ("xhigh", ("low", "medium", "high", "xhigh"), "xhigh"),
        ("medium", ("low", "high"), "high"),
        ("high", (), None),
    ],
)
def test_effort_is_the_nearest_level_that_the_model_has(effort, levels, chosen):
    assert nearest(effort, levels) == chosen
    model = Model(Target("groq", "m"), reasoning_efforts=levels)
    assert fitted(asking(reasoning_effort=effort), model).reasoning_effort == chosen


def test_answers_limit_is_the_models_at_most():
    model = Model(Target("groq", "m"), max_output=16_384)
    request = fitted(asking(max_tokens=50_000), model)
    assert (request.max_tokens, request.notes) == (16_384, ("max_tokens was lowered from 50000 to 16384.",))
    assert fitted(asking(), model) == asking()


def test_models_that_are_not_known_get_the_request_as_it_is():
    request = asking(max_tokens=50_000, reasoning_effort="max")
    assert fitted(request, Model(Target("groq", "m"))) == request
