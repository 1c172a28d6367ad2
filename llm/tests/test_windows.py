"""Histories are fitted to windows that are known, stated, listed, or shown by a refusal only."""

import dataclasses
from itertools import pairwise

import pytest

from llm import errors, routing, windows
from llm.canonical import Completion, Failed, Finished, Message, Request, Target
from llm.providers import PROVIDERS, Limits
from llm.tests import test_routing
from llm.tests.test_routing import FAST, GEMINI, GROQ, outcomes
from llm.token_estimate import most_tokens, request_tokens
from llm.windows import Windows, answer_room, with_fitting_history
from qa.testing.window_server import WindowServer

runs = test_routing.runs

UNKNOWN = Target("openai_compatible", "own-model")
QUESTION = Message("user", "And now?")
LONG = "It is a long answer, with many words that were all read. "

#: Enough time for a busy machine: nothing here waits.
POLICY = dataclasses.replace(FAST, first_token_seconds=10, between_tokens_seconds=10, connect_seconds=5)


@pytest.fixture(autouse=True)
def learned(monkeypatch):
    """What this test learns, and no other."""
    fresh = Windows()
    monkeypatch.setattr(windows, "WINDOWS", fresh)
    monkeypatch.setattr(routing, "WINDOWS", fresh)
    return fresh


def conversation(count=6, characters=5400, **fields):
    roles = ("user", "assistant")
    texts = [(f"{at}. " + LONG * 1000)[:characters] for at in range(count)]
    messages = [Message(roles[at % 2], text) for at, text in enumerate(texts)]
    return Request((*messages, QUESTION), history=count, **fields)


def run_at(server, runs, request, *route, **options):
    own = PROVIDERS["openai_compatible"](api_key="", base_url=server.base_url, model="own-model")
    known = runs(UNKNOWN)._provider_of
    run = runs(
        *(route or (UNKNOWN,)),
        request=request,
        policy=POLICY,
        provider_of=lambda name: own if name == own.name else known(name),
        **options,
    )
    return run, list(run)[-1]


REFUSALS = {
    "no number": "Prompt exceeds max length",
    "limit": "This model's maximum context length is {window} tokens.",
    "limit and sent": "The maximum prompt length is {window} but the request contains {sent} tokens.",
    "a sum": "input length and max_tokens exceed context limit: {sent} + 21333 > {window}",
    "a range": "Range of input length should be [1, {window}]",
    "n_ctx": "Cannot truncate prompt with n_keep ({sent}) >= n_ctx ({window})",
    "an absurd limit": "The prompt is too long: maximum context length is 900000000 tokens.",
    "an absurdly small one": "The prompt is too long: maximum context length is 3 tokens.",
    "a code": "context_length_exceeded (400)",
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("window", [4096, 1200])
def test_session_with_a_model_of_unknown_window_goes_on(runs, refusal, window):
    with WindowServer(window, refusal=refusal) as server:
        run, finished = run_at(server, runs, conversation(8, 3000))
        assert isinstance(finished, Finished), outcomes(run)
        assert 1 <= len(run.attempts) - 1 <= 2
        assert {kind for _, kind in outcomes(run)[:-1]} == {"context_length"}
        assert "Of the history the newest" in run.attempts[-1].notes[0]
        assert [len(each) for each in server.sent] == sorted(
            {len(each) for each in server.sent}, reverse=True
        )
        assert all(each[-1]["content"] == QUESTION.text for each in server.sent)
        assert all(each[0]["role"] == "user" for each in server.sent)
        again, finished = run_at(server, runs, conversation(8, 3000))
        assert isinstance(finished, Finished)
        assert outcomes(again) == [(UNKNOWN, "ok")], "the window was not remembered"


def test_limit_that_is_stated_is_used_well(runs):
    with WindowServer(16384, refusal=REFUSALS["limit"], count=lambda text: len(text) / 4.2) as server:
        run, _ = run_at(server, runs, conversation(60, 2000))
        assert [kind for _, kind in outcomes(run)] == ["context_length", "ok"]
        assert sum(len(each["content"]) for each in server.sent[-1]) / 4.2 > 16384 / 2


def test_repeats_are_two_at_most(runs):
    with WindowServer(10) as server:
        run, failed = run_at(server, runs, conversation(40, 2000))
        assert isinstance(failed, Failed)
        assert failed.error.kind == "context_length"
        assert [kind for _, kind in outcomes(run)] == ["context_length"] * 3
        assert [len(each) for each in server.sent] == sorted(
            {len(each) for each in server.sent}, reverse=True
        )


def test_request_without_history_is_not_repeated(runs):
    with WindowServer(10) as server:
        request = dataclasses.replace(conversation(4), history=0)
        run, failed = run_at(server, runs, request)
        assert isinstance(failed, Failed)
        assert outcomes(run) == [(UNKNOWN, "context_length")]


def test_what_is_no_history_is_never_left_out(runs):
    request = conversation(4, 3000, system="Be brief.")
    with WindowServer(1200) as server:
        _, finished = run_at(server, runs, request)
        assert isinstance(finished, Finished)
        assert all(each[0] == {"role": "system", "content": "Be brief."} for each in server.sent)


@pytest.mark.parametrize(
    "listed",
    [
        {"max_model_len": 4096},
        {"context_length": 4096},
        {"max_context_length": 32768, "loaded_context_length": 4096},
        {"context_window": "4096"},
        {"meta": {"n_ctx": 4096}},
    ],
    ids=repr,
)
def test_listed_window_is_read_after_a_refusal_without_a_limit(runs, learned, listed):
    with WindowServer(4096, listed=listed) as server:
        run, finished = run_at(server, runs, conversation(40, 2000))
        assert isinstance(finished, Finished)
        assert [kind for _, kind in outcomes(run)] == ["context_length", "ok"]
        assert server.listings == 1
        assert learned.get(UNKNOWN) == learned.get(UNKNOWN, "another tenant") == 4096
        run_at(server, runs, conversation(40, 2000), origin="another tenant")
        assert (server.listings, len(server.sent)) == (1, 3)


@pytest.mark.parametrize("listed", [{}, {"max_model_len": 0}, {"context_length": -1}, {"meta": []}], ids=repr)
def test_list_without_a_window_helps_nothing_and_harms_nothing(runs, listed):
    with WindowServer(4096, listed=listed) as server:
        _, finished = run_at(server, runs, conversation(8, 3000))
        assert isinstance(finished, Finished)
        assert server.listings == 1


def test_larger_and_unknown_targets_come_before_a_shorter_history(runs, fake):
    request = conversation(6)
    fake.script(provider="groq", fault="context-length")
    with WindowServer(100_000) as server:
        run, finished = run_at(server, runs, request, GROQ, UNKNOWN)
        assert isinstance(finished, Finished)
        assert outcomes(run) == [(GROQ, "context_length"), (UNKNOWN, "ok")]
        assert len(server.sent[-1]) == 7
    with WindowServer(1200) as server:
        run, finished = run_at(server, runs, request, UNKNOWN, GEMINI)
        assert outcomes(run) == [(UNKNOWN, "context_length"), (GEMINI, "ok")]


def test_each_target_gets_what_fits_into_its_window(runs, fake, learned):
    request = conversation(6)
    fake.script(provider="groq", fault="401")
    with WindowServer(8192, listed={"max_model_len": 4096}) as server:
        learned.learn(UNKNOWN, request, errors.ContextTooLong("Long.", detail="limit is 4096"))
        _, finished = run_at(server, runs, request, GROQ, UNKNOWN)
        assert isinstance(finished, Finished)
        assert len(server.sent[-1]) < 7


def test_one_tenant_learns_nothing_for_others(learned):
    learned.learn(GROQ, conversation(6), errors.ContextTooLong("Long."), origin="one")
    assert learned.get(GROQ, "one") < 10_000
    assert learned.get(GROQ, "another") == learned.get(GROQ) == 131_072


def test_what_was_learned_is_bounded_and_ends(learned, monkeypatch):
    monkeypatch.setattr(windows, "_MAX_LEARNED", 10)
    error = errors.ContextTooLong("Long.", detail="maximum context length is 4096 tokens")
    for number in range(windows._MAX_LEARNED + 10):
        learned.learn(UNKNOWN, conversation(2), error, origin=str(number))
    assert len(learned._learned) == windows._MAX_LEARNED
    monkeypatch.setattr(windows, "_LEARNED_SECONDS", 0)
    learned.learn(UNKNOWN, conversation(2), error)
    assert learned.get(UNKNOWN) is None


def test_refusal_always_makes_the_next_request_shorter(learned):
    request = conversation(30, 2000)
    sizes = [request_tokens(request)]
    for detail in ("", "limit 131072", "maximum context length is 4096 tokens", "4096 tokens", "4096 tokens"):
        window = learned.learn(UNKNOWN, request, errors.ContextTooLong("Long.", detail=detail))
        request = with_fitting_history(request, window)
        sizes.append(request_tokens(request))
    assert all(after < before for before, after in pairwise(sizes))


# -- fitting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 131_072])
def test_request_that_fits_is_unchanged(window):
    request = conversation(6)
    assert with_fitting_history(request, window) is request


@pytest.mark.parametrize("window", [1, 500, 2000, 3000, 5000, 8192])
@pytest.mark.parametrize("max_tokens", [None, 600])
def test_newest_messages_that_fit_are_kept(window, max_tokens):
    request = conversation(10, 3000, max_tokens=max_tokens)
    result = with_fitting_history(request, window)
    assert result.messages == request.messages[10 - result.history :]
    assert result.messages[-1] == QUESTION
    assert result.messages[0].role == "user"
    if result.history:
        assert request_tokens(result) + answer_room(result, window) <= window
    more = dataclasses.replace(request, messages=request.messages[10 - result.history - 2 :])
    assert request_tokens(more) + answer_room(more, window) > window


def test_most_tokens_is_an_upper_bound():
    request = conversation(3, 500, system="日本語" * 50)
    assert request_tokens(request) <= most_tokens(request)


def test_other_failures_learn_nothing(runs, learned, fake):
    fake.script(fault="500")
    assert not isinstance(list(runs(GROQ, request=conversation(2)))[-1], Completion)
    assert not learned._learned


def test_listing_that_fails_is_not_repeated_at_once(learned):
    own = PROVIDERS["openai_compatible"](api_key="", base_url="http://127.0.0.1:9/v1", model="m")
    calls = []
    own.models = lambda limits: calls.append(limits) or (_ for _ in ()).throw(errors.Unreachable("Down."))
    for _ in range(3):
        learned.learn(UNKNOWN, conversation(6), errors.ContextTooLong("Long."), provider=own, origin=str(_))
    assert len(calls) == 1
    assert isinstance(calls[0], Limits)


@pytest.mark.parametrize("fault", ["400", "prompt-blocked"])
def test_what_ends_a_run_is_not_followed_by_a_shorter_request(runs, fake, fault):
    fake.script(provider="groq", fault="context-length")
    fake.script(provider="gemini", fault=fault)
    run = runs(GROQ, GEMINI, request=conversation(6), policy=POLICY)
    assert isinstance(list(run)[-1], Failed)
    assert [target for target, _ in outcomes(run)] == [GROQ, GEMINI]


def test_a_failure_of_the_larger_target_is_followed_by_a_shorter_request(runs, fake):
    fake.script(provider="groq", faults=["context-length"])
    fake.script(provider="gemini", fault="401")
    run = runs(GROQ, GEMINI, request=conversation(6), policy=POLICY)
    assert isinstance(list(run)[-1], Finished)
    assert outcomes(run) == [(GROQ, "context_length"), (GEMINI, "auth"), (GROQ, "ok")]


@pytest.mark.parametrize("max_tokens", [None, 100, 4000, 8000, 100_000])
@pytest.mark.parametrize("detail", ["", "maximum context length is 8192 tokens", "8192 < 9000"])
def test_every_refusal_leads_to_less_whatever_the_answer_may_take(learned, max_tokens, detail):
    request = conversation(30, 2000, max_tokens=max_tokens)
    for _ in range(3):
        window = learned.learn(UNKNOWN, request, errors.ContextTooLong("Long.", detail=detail))
        shorter = with_fitting_history(request, window)
        assert shorter.history < request.history
        request = shorter


def test_long_answers_leave_half_of_the_window_to_the_history():
    request = conversation(30, 2000, max_tokens=100_000)
    result = with_fitting_history(request, 8192)
    assert 8192 / 4 < request_tokens(result) <= 8192 / 2
