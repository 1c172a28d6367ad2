"""How long a provider may take for its first token: by effort and model, and longer if it is the last."""

import dataclasses
import gzip

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Finished, Request, Target, Waiting
from llm.policy import Policy
from llm.providers import Limits, call
from llm.reasoning_models import first_token_factor, opens_thoughts_in_prompt, reasons
from llm.tests import test_routing
from llm.tests.bodies import DONE, END, chunk
from llm.tests.test_routing import GEMINI, GROQ, QUESTION, outcomes

runs = test_routing.runs

SHORT = Limits(first_token_seconds=0.3, between_tokens_seconds=5, total_seconds=20, is_patient=True)
PLAIN = Target("groq", "some-model")


@pytest.mark.parametrize(
    "pieces",
    [[0.9], [": PROCESSING\n\n", 0.5] * 2, [":\n\n", 0.9], [chunk(""), 0.5, chunk(None, delta={}), 0.5]],
    ids=["silence", "comments", "one comment", "empty chunks"],
)
def test_provider_that_has_accepted_the_request_is_waited_for(answers, pieces):
    outcome = answers(*pieces, chunk("4") + END, limits=SHORT)
    assert outcome.completion.text == "4"


@pytest.mark.parametrize("fault", ["silent", "dribbled-headers"])
def test_provider_that_does_not_accept_the_request_is_not_waited_for(call, fault):
    error = call(model=f"fault-{fault}", limits=SHORT).error
    assert "no token within 0.3 s" in str(error)


@pytest.mark.parametrize("fault", ["comments", "empty-chunks", "slow-first-token-wait-30"])
def test_patience_ends_with_the_total_time_and_is_the_providers_failure(call, fake, fault):
    limits = dataclasses.replace(SHORT, total_seconds=0.8)
    error = call(model=f"fault-{fault}", limits=limits).error
    assert type(error) is errors.ProviderSilent
    assert "no token within 0.8 s" in str(error)
    assert not error.out_of_time
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


def test_patience_ends_with_the_first_token(answers):
    limits = dataclasses.replace(SHORT, between_tokens_seconds=0.3)
    error = answers(": x\n\n", 0.5, chunk("4"), end="stall", limits=limits).error
    assert "in the middle" in str(error)


@pytest.mark.parametrize("pieces", [[0.6], [": x\n\n", 0.1] * 6], ids=["silence", "comments"])
def test_reader_gets_signs_of_life_until_the_first_token(answers, monkeypatch, pieces):
    monkeypatch.setattr(call, "_SIGN_OF_LIFE_SECONDS", 0.1)
    outcome = answers(*pieces, chunk("4"), 0.2, chunk("2") + DONE, limits=SHORT)
    first_text = next(at for at, event in enumerate(outcome.events) if not isinstance(event, Waiting))
    assert first_text >= 2
    assert outcome.completion.text == "42"


@pytest.mark.parametrize("framing", ["chunks", "length", "close", "gzip"])
@pytest.mark.parametrize("end", [chunk("An answer.") + END, ""], ids=["answer", "nothing"])
def test_what_is_split_over_waits_is_read_in_every_framing(answers, monkeypatch, framing, end):
    monkeypatch.setattr(call, "_SIGN_OF_LIFE_SECONDS", 0.03)
    body = (": PROCESSING\n\n" + chunk("") + end).encode()
    body = gzip.compress(body) if framing == "gzip" else body
    head = {"length": f"Content-Length: {len(body)}\r\n", "close": "Connection: close\r\n"}.get(framing)
    pieces = [piece for at in range(0, len(body), 60) for piece in (body[at : at + 60], 0.08)]
    if head:
        start = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}\r\n"
        outcome = answers(start, *pieces, framed=False, end="close", limits=SHORT)
    else:
        headers = {"Content-Encoding": "gzip"} if framing == "gzip" else {}
        outcome = answers(*pieces, headers=headers, limits=SHORT)
    assert Waiting() in outcome.events
    if end:
        assert outcome.completion.text == "An answer."
    else:
        assert type(outcome.error) is errors.BadReply


# -- runs ------------------------------------------------------------------------------------------


def policy(**changes):
    times = {"first_token_seconds": 0.3, "between_tokens_seconds": 2, "total_seconds": 6} | changes
    return dataclasses.replace(Policy(), **times)


def test_last_target_is_given_the_whole_time(runs, fake):
    fake.script(fault="slow-first-token-wait-1.2")
    run = runs(PLAIN, policy=policy())
    assert isinstance(list(run)[-1], Finished)


def test_other_targets_are_called_first(runs, fake):
    fake.script(provider="groq", fault="comments")
    run = runs(PLAIN, GEMINI, policy=policy())
    assert isinstance(list(run)[-1], Finished)
    assert outcomes(run) == [(PLAIN, "timeout"), (GEMINI, "ok")]


def test_target_whose_circuit_is_open_is_no_other_target(runs, fake):
    breakers = Breakers()
    breakers.admit(GEMINI).record_failure(failures=1, seconds=60)
    fake.script(provider="groq", fault="slow-first-token-wait-1.2")
    run = runs(PLAIN, GEMINI, policy=policy(), breakers=breakers)
    assert isinstance(list(run)[-1], Finished)


@pytest.mark.parametrize(("target", "effort"), [(GROQ, None), (PLAIN, "low"), (PLAIN, "high")])
def test_model_that_thinks_is_given_more_before_the_next_target(runs, fake, target, effort):
    fake.script(provider="groq", fault="slow-first-token-wait-1")
    request = Request(QUESTION.messages, reasoning_effort=effort)
    run = runs(target, GEMINI, request=request, policy=policy(first_token_seconds=0.7))
    assert isinstance(list(run)[-1], Finished)
    assert outcomes(run) == [(target, "ok")]


@pytest.mark.parametrize(
    ("factor", "is_last", "remaining", "seconds"),
    [
        (1, False, 120, 10),
        (2, False, 120, 20),
        (8, False, 120, 60),
        (8, True, 120, 80),
        (8, False, 15, 10),
        (2, True, 15, 15),
    ],
)
def test_time_of_the_first_token_leaves_half_to_the_other_targets(factor, is_last, remaining, seconds):
    limits = Policy().limits(remaining, first_token_factor=factor, is_last=is_last)
    assert (limits.first_token_seconds, limits.is_patient) == (seconds, is_last)


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("openai/gpt-oss-120b", True),
        ("gpt-5-mini", True),
        ("o3-mini", True),
        ("deepseek-r1-distill-llama-70b", True),
        ("qwen/qwen3.8-27b", True),
        ("gemini-3.8-flash", True),
        ("gemini-2.5-pro", True),
        ("z-ai/glm-4.6", True),
        ("moonshotai/kimi-k2-thinking", True),
        ("gemini-3.5-flash-lite", False),
        ("qwen3-30b-a3b-instruct-2507", False),
        ("llama-3.3-70b-versatile", False),
        ("gpt-4o", False),
        ("gpt-4.1-nano", False),
        ("mistral-small", False),
        ("phi-3", False),
        ("llama-3.2-1b-instruct", False),
    ],
)
def test_models_that_think_are_known_by_their_names(model, thinks):
    assert reasons(Target("openrouter", model)) is thinks
    assert first_token_factor(Target("openrouter", model), None) == (2 if thinks else 1)


@pytest.mark.parametrize(("effort", "factor"), [("none", 1), ("minimal", 1), ("low", 2), ("max", 8)])
def test_effort_decides_where_it_is_given(effort, factor):
    assert first_token_factor(GROQ, effort) == factor


@pytest.mark.parametrize(
    ("name", "opens"),
    [
        ("deepseek-r1:8b", True),
        ("qwq", True),
        ("Qwen3-4B-Thinking-2507", True),
        ("qwen3-non-thinking", False),
        ("llama3", False),
    ],
)
def test_models_that_open_their_thoughts_in_the_prompt_are_known_at_own_servers(name, opens):
    assert opens_thoughts_in_prompt(Target("openai_compatible", name)) is opens
    assert not opens_thoughts_in_prompt(Target("groq", name))
