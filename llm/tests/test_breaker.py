"""A target that keeps failing is skipped, probed, and called again."""

import threading

import pytest
import time_machine

from llm.breaker import MAX_CIRCUITS, Breakers
from llm.canonical import Target

GROQ = Target("groq", "openai/gpt-oss-120b")
GEMINI = Target("gemini", "gemini-3.5-flash-lite")


def fail(breakers, target=GROQ, times=1, seconds=3600.0):
    for _ in range(times):
        breakers.admit(target).record_failure(failures=3, seconds=seconds)


@pytest.fixture
def breakers():
    return Breakers()


def test_opens_after_failures_in_a_row(breakers):
    fail(breakers, times=2)
    assert breakers.admit(GROQ)
    fail(breakers)
    assert breakers.admit(GROQ) is None
    assert breakers.states() == {GROQ: "open"}
    assert 0 < breakers.seconds_until_probe(GROQ) <= 3600


def test_success_between_failures_starts_the_count_again(breakers):
    fail(breakers, times=2)
    breakers.admit(GROQ).record_success()
    fail(breakers, times=2)
    assert breakers.admit(GROQ)


def test_other_targets_are_not_affected(breakers):
    fail(breakers, times=3)
    assert breakers.admit(GEMINI)


def test_one_probe_passes_after_the_cool_down(breakers):
    fail(breakers, times=3, seconds=0)
    assert breakers.admit(GROQ)
    assert breakers.states() == {GROQ: "probing"}
    assert breakers.admit(GROQ) is None


def test_successful_probe_closes(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).record_success()
    assert breakers.states() == {}
    assert breakers.admit(GROQ)


def test_failed_probe_opens_again(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).record_failure(failures=3, seconds=3600)
    assert breakers.admit(GROQ) is None


def test_cancelled_probe_allows_another(breakers):
    fail(breakers, times=3, seconds=0)
    breakers.admit(GROQ).release()
    assert breakers.admit(GROQ)


def test_call_admitted_before_the_opening_does_not_end_the_probe(breakers):
    early = breakers.admit(GROQ)
    fail(breakers, times=3, seconds=0)
    probe = breakers.admit(GROQ)
    early.release()
    assert probe
    assert breakers.admit(GROQ) is None


def test_cool_down_uses_a_monotonic_clock(breakers):
    with time_machine.travel("2026-11-22T12:00:00Z", tick=False) as traveller:
        fail(breakers, times=3)
        traveller.shift(-86400)
        assert breakers.seconds_until_probe(GROQ) <= 3600


def test_two_hundred_threads_get_one_probe(breakers):
    fail(breakers, times=3, seconds=0)
    start, permits = threading.Barrier(200), []

    def admit():
        start.wait()
        permits.append(breakers.admit(GROQ))

    threads = [threading.Thread(target=admit) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(permit is not None for permit in permits) == 1


def test_number_of_circuits_is_bounded(breakers):
    for number in range(MAX_CIRCUITS + 10):
        fail(breakers, Target("groq", f"model-{number}"))
    assert len(breakers.states()) == MAX_CIRCUITS


def fail_for(breakers, origin, times=1, seconds=3600.0):
    for _ in range(times):
        if permit := breakers.admit(GROQ, origin):
            permit.record_failure(failures=5, seconds=seconds)


def test_failures_of_one_tenant_open_the_circuit_of_that_tenant_alone(breakers):
    fail_for(breakers, "acme", times=50)
    assert breakers.admit(GROQ, "acme") is None
    assert breakers.seconds_until_probe(GROQ, "acme") > 0
    assert breakers.admit(GROQ, "umbrella")
    assert breakers.seconds_until_probe(GROQ, "umbrella") == 0


def test_failures_of_several_tenants_open_the_circuit_for_all(breakers):
    fail_for(breakers, "acme", times=4)
    fail_for(breakers, "umbrella", times=4)
    assert breakers.admit(GROQ, "initech"), "two tenants are not enough"
    fail_for(breakers, "hooli")
    assert breakers.admit(GROQ, "initech") is None
    assert breakers.states() == {GROQ: "open"}


def test_a_success_of_any_tenant_starts_the_shared_count_again(breakers):
    for origin in ("acme", "umbrella"):
        fail_for(breakers, origin, times=4)
    breakers.admit(GROQ, "initech").record_success()
    fail_for(breakers, "hooli")
    assert breakers.admit(GROQ, "initech")


def test_a_tenant_that_fails_every_probe_does_not_keep_the_circuit_open_for_all(breakers):
    for origin in ("acme", "umbrella", "hooli"):
        fail_for(breakers, origin, times=2, seconds=0.0)
    assert breakers.states() == {GROQ: "open"}
    fail_for(breakers, "acme")
    assert breakers.admit(GROQ, "initech")
