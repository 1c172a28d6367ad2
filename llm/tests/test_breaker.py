"""A target that keeps failing is left alone, probed, and taken back."""

import threading

import pytest
import time_machine

from llm.breaker import REMEMBERED, Breakers
from llm.canonical import Target

GROQ = Target("groq", "openai/gpt-oss-120b")
GEMINI = Target("gemini", "gemini-3.5-flash-lite")


def fail(breakers, target=GROQ, times=1, seconds=3600.0):
    for _ in range(times):
        breakers.admit(target).failed(failures=3, seconds=seconds)


@pytest.fixture
def breakers():
    return Breakers()


def test_open_after_failures_in_a_row(breakers):
    fail(breakers, times=2)
    assert breakers.admit(GROQ)
    fail(breakers)
    assert breakers.admit(GROQ) is None
    assert breakers.states() == {GROQ: "open"}
    assert 0 < breakers.seconds_until_probe(GROQ) <= 3600


def test_success_between_failures_starts_the_count_again(breakers):
    fail(breakers, times=2)
    breakers.admit(GROQ).succeeded()
    fail(breakers, times=2)
    assert breakers.admit(GROQ)


def test_other_targets_are_not_touched(breakers):
    fail(breakers, times=3)
    assert breakers.admit(GEMINI)


def test_one_probe_passes_after_the_cool_down(breakers):
    fail(breakers, times=3, seconds=0)
    assert breakers.admit(GROQ)
    assert breakers.states() == {GROQ: "probing"}
    assert breakers.admit(GROQ) is None


def test_probe_that_succeeds_closes(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).succeeded()
    assert breakers.states() == {}
    assert breakers.admit(GROQ)


def test_probe_that_fails_opens_again(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).failed(failures=3, seconds=3600)
    assert breakers.admit(GROQ) is None


def test_cancelled_probe_leaves_room_for_another(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).released()
    assert breakers.admit(GROQ)


def test_call_admitted_before_the_opening_does_not_free_the_probes_place(breakers):
    early = breakers.admit(GROQ)
    fail(breakers, times=3, seconds=0)
    probe = breakers.admit(GROQ)
    early.released()
    assert probe
    assert breakers.admit(GROQ) is None


def test_cool_down_is_measured_on_a_clock_that_is_never_set(breakers):
    with time_machine.travel("2026-11-22T12:00:00Z", tick=False) as traveller:
        fail(breakers, times=3)
        traveller.shift(-86400)
        assert breakers.seconds_until_probe(GROQ) <= 3600


def test_two_hundred_threads_get_one_probe(breakers):
    fail(breakers, times=3, seconds=0)
    start, permits = threading.Barrier(200), []

    def ask():
        start.wait()
        permits.append(breakers.admit(GROQ))

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(permit is not None for permit in permits) == 1


def test_failing_targets_that_clients_invent_do_not_pile_up(breakers):
    for number in range(REMEMBERED + 10):
        fail(breakers, Target("groq", f"model-{number}"))
    assert len(breakers.states()) == REMEMBERED
