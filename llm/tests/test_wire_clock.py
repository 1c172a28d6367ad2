"""Deadlines, size limits and cancellation: a call ends when it should, whatever the provider does.

Limits are scaled down, and no test requires a speed: the tests check which limit ended the
call, and that the provider saw the connection close.
"""

import dataclasses
import socket
import threading
import tracemalloc
import zlib

import pytest

from llm import canonical, errors
from llm.providers import Limits
from llm.providers.coalescing import OpenStreams, open_streams
from qa.testing.llm import LIMITS, asking, outcome_of

SHORT = Limits(connect_seconds=2, first_token_seconds=0.3, between_tokens_seconds=0.3, total_seconds=10)
PROVIDERS_BY_WIRE = ["groq", "openrouter", "gemini"]


def in_thread(target):
    """Start `target` in a thread and return the thread; `results` has its result once it has ended."""
    results = []
    thread = threading.Thread(target=lambda: results.append(target()), daemon=True)
    thread.start()
    thread.results = results
    return thread


def result_of(thread):
    thread.join(10)
    assert not thread.is_alive()
    return thread.results[0]


# -- Timeouts ----------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS_BY_WIRE)
@pytest.mark.parametrize(
    "fault", ["silent", "slow-first-token-wait-30", "comments", "empty-chunks", "dribbled-headers"]
)
def test_no_token_in_time_is_a_timeout_whatever_else_is_sent(call, fake, name, fault):
    outcome = call(name, f"fault-{fault}", limits=SHORT)
    assert type(outcome.error) is errors.ProviderSilent
    assert "no token within 0.3 s" in str(outcome.error)
    assert outcome.call.first_token_ms is None
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


@pytest.mark.parametrize("name", PROVIDERS_BY_WIRE)
@pytest.mark.parametrize("fault", ["stall", "comments-mid-stream", "dribbled-event"])
def test_stall_is_a_timeout_and_keeps_the_partial_answer(call, fake, name, fault):
    limits = dataclasses.replace(SHORT, first_token_seconds=5)
    outcome = call(name, f"fault-{fault}-after-2", limits=limits)
    assert type(outcome.error) is errors.ProviderSilent
    assert "in the middle" in str(outcome.error)
    assert outcome.text == "You said: "
    assert outcome.call.first_token_ms is not None
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


def test_answer_beyond_the_total_time_is_stopped(call):
    limits = dataclasses.replace(LIMITS, total_seconds=0.5)
    outcome = call(model="tokens-1000-every-50ms", limits=limits)
    assert type(outcome.error) is errors.ProviderSilent
    assert "did not finish within 0.5 s" in str(outcome.error)
    assert outcome.text.startswith("word1 word2")


def test_slow_tokens_within_the_limit_are_not_a_timeout(call):
    limits = dataclasses.replace(LIMITS, between_tokens_seconds=1, first_token_seconds=1)
    assert call(model="tokens-4-every-300ms", limits=limits).completion.text == "word1 word2 word3 word4"


def test_whole_answer_is_bounded_by_the_total_time_only(call):
    assert call(model="fault-slow-first-token-wait-0.6", stream=False, limits=SHORT).completion
    limits = dataclasses.replace(SHORT, total_seconds=0.3)
    outcome = call(model="fault-silent", stream=False, limits=limits)
    assert "did not finish within 0.3 s" in str(outcome.error)


def test_slow_consumer_is_not_a_timeout(provider):
    limits = dataclasses.replace(LIMITS, between_tokens_seconds=0.2)
    open_call = provider("groq").open(asking(), "tokens-6-every-30ms", stream=True, limits=limits)
    text = ""
    for event in open_call:
        threading.Event().wait(0.3)
        text += event.text if isinstance(event, canonical.Text) else ""
    assert text == "word1 word2 word3 word4 word5 word6"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
def test_address_without_a_server_is_unreachable(call, provider, address):
    outcome = call(of=provider("groq", base_url=address))
    assert type(outcome.error) is errors.Unreachable
    assert outcome.error.provider == "groq"
    assert outcome.call.status is None


# -- Cancellation --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["silent", "dribbled-headers", "stall"])
def test_close_from_another_thread_wakes_a_waiting_reader(provider, fake, fault, stream):
    open_call = provider("groq").open(asking(), f"fault-{fault}", stream=stream, limits=LIMITS)
    reader = in_thread(lambda: outcome_of(open_call))
    fake.wait_for(lambda log: log and log[-1].fault == fault)
    open_call.close()
    open_call.close()
    assert type(result_of(reader).error) is errors.Cancelled
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


def test_close_wakes_a_pausing_reader(monkeypatch, provider, fake):
    monkeypatch.setattr(OpenStreams, "coalescing_delay_seconds", lambda *_: 30.0)
    open_call = provider("groq").open(asking(), "tokens-100-every-10ms", stream=True, limits=LIMITS)
    begun = threading.Event()

    def read():
        try:
            for _ in open_call:
                begun.set()
        except errors.Cancelled:
            return "woken"

    reader = in_thread(read)
    assert begun.wait(5)
    open_call.close()
    assert result_of(reader) == "woken"


def test_close_while_connecting_wakes_the_reader(provider):
    # Connecting to a listener with a full backlog hangs.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        limits = dataclasses.replace(LIMITS, connect_seconds=30, first_token_seconds=30, total_seconds=30)
        hanging = provider("groq", base_url=f"http://127.0.0.1:{port}/v1")
        open_call = hanging.open(asking(), "m", stream=True, limits=limits)
        reader = in_thread(lambda: outcome_of(open_call))
        while open_call._deadline._socket is None:
            threading.Event().wait(0.01)
        open_call.close()
        assert type(result_of(reader).error) is errors.Cancelled
        assert not open_call.request_sent
        for filler in fillers:
            filler.close()


def test_close_before_the_start_and_after_the_end(provider, call):
    early = provider("groq").open(asking(), "fake-large", stream=True, limits=LIMITS)
    early.close()
    assert type(outcome_of(early).error) is errors.Cancelled
    late = call()
    late.call.close()
    assert late.completion


def test_late_close_does_not_affect_the_next_call_on_the_connection(provider, fake):
    groq = provider("groq")
    first = groq.open(asking(), "fake-large", stream=True, limits=LIMITS)
    assert outcome_of(first).completion
    second = groq.open(asking(), "tokens-5-every-20ms", stream=True, limits=LIMITS)
    events = iter(second)
    next(events)
    first.close()
    assert isinstance(list(events)[-1], canonical.Finished)
    assert len({entry.connection for entry in fake.log()}) == 1


def test_leaving_the_iteration_closes_the_connection(provider, fake):
    open_call = provider("gemini").open(asking(), "tokens-1000-every-10ms", stream=True, limits=LIMITS)
    for _ in open_call:
        break
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)
    assert open_streams.count == 0


# -- Size ------------------------------------------------------------------------


def test_token_of_a_megabyte_is_read(call):
    assert len(call(model="fault-huge-token").completion.text) == 1_000_000


@pytest.mark.parametrize("name", ["groq", "gemini"])
@pytest.mark.parametrize(
    ("fault", "stream"), [("endless", True), ("endless-line", True), ("endless-line", False)]
)
def test_endless_response_ends_at_the_limit_and_memory_stays_flat(call, fake, name, fault, stream):
    limits = dataclasses.replace(LIMITS, max_reply_bytes=2 << 20, max_event_bytes=1 << 19)
    tracemalloc.start()
    outcome = call(name, f"fault-{fault}", stream=stream, limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert type(outcome.error) is errors.ReplyTooLarge
    assert peak < 30 << 20
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


def test_decompression_bomb_ends_at_the_limit(answers):
    bomb = zlib.compress(b"data: " + b"x" * (40 << 20), 9)
    tracemalloc.start()
    outcome = answers(bomb, headers={"Content-Encoding": "deflate"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert type(outcome.error) is errors.ReplyTooLarge
    assert peak < 20 << 20


def test_body_without_an_end_does_not_delay_a_finished_answer(call, fake):
    assert call(model="fault-open-end").completion.finish == "stop"
    fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


# -- Connections and coalescing --------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS_BY_WIRE)
@pytest.mark.parametrize("stream", [True, False])
def test_connection_is_reused_after_an_answer_and_after_an_error(call, provider, fake, name, stream):
    chosen = provider(name)
    for model in ("fake-large", "fault-503", "fault-429", "fault-401", "fake-large", "fault-html"):
        call(of=chosen, model=model, stream=stream)
    assert [entry.connection for entry in fake.log()] == [fake.log()[0].connection] * 6


@pytest.mark.parametrize("name", ["groq", "gemini"])
@pytest.mark.parametrize("fault", ["cut", "cut-reset", "stall", "malformed", "open-end"])
def test_connection_of_a_broken_answer_is_not_reused(call, provider, fake, name, fault):
    chosen = provider(name)
    call(of=chosen, model=f"fault-{fault}", limits=SHORT)
    assert call(of=chosen).completion
    first, second = fake.log()
    assert first.connection != second.connection


def test_slow_stream_does_not_block_other_calls(provider, call):
    chosen = provider("groq")
    slow = chosen.open(asking(), "fault-stall", stream=True, limits=LIMITS)
    reader = in_thread(lambda: outcome_of(slow))
    assert call(of=chosen).completion
    assert reader.is_alive()
    slow.close()
    result_of(reader)


def test_many_threads_share_one_provider(provider, fake):
    chosen = provider("openrouter")
    readers = [
        in_thread(
            lambda number=number: outcome_of(
                chosen.open(asking(f"Question {number}"), "fake-large", stream=number % 2 == 0, limits=LIMITS)
            )
        )
        for number in range(40)
    ]
    texts = [result_of(reader).completion.text for reader in readers]
    assert [text.split()[:4] for text in texts] == [["You", "said:", "Question", str(n)] for n in range(40)]
    assert open_streams.count == 0


def test_tokens_that_arrived_together_are_coalesced(provider, monkeypatch):
    monkeypatch.setattr(OpenStreams, "coalescing_delay_seconds", lambda *_: 0.3)
    open_call = provider("groq").open(asking(), "tokens-60-every-5ms", stream=True, limits=LIMITS)
    texts = [event.text for event in open_call if isinstance(event, canonical.Text)]
    assert texts[0] == "word1 "
    assert len(texts) < 10
    assert len("".join(texts).split()) == 60


def test_coalescing_delay_grows_with_the_open_streams_and_is_zero_for_a_few():
    streams = OpenStreams()
    delays = []
    for streams.count in (1, 8, 50, 200, 1000):
        delays.append(streams.coalescing_delay_seconds(60.0))
    assert delays == [0, 0, 0.05, 0.2, 0.25]


def test_coalescing_delays_a_short_answer_by_a_quarter_of_its_time_at_most():
    streams = OpenStreams()
    streams.count = 1000
    assert [streams.coalescing_delay_seconds(age) for age in (-0.001, 0.0, 0.02, 0.8, 30.0)] == [
        0.0,
        0.0,
        0.005,
        0.2,
        0.25,
    ]
