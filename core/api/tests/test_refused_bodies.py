"""Bodies that are refused: cheaply, and not without end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from core.api.parsers import StrictJSONParser, _holds_more_than
from qa.testing.chat import messages
from qa.testing.tenants import issue, problem, with_key

MEBIBYTE = 1024 * 1024
HOSTILE = {
    "lists": b"[" + b"[]," * 349_000 + b"[]]",
    "objects": b'{"message": "x", "metadata": {"a": [' + b"{}," * 349_000 + b"{}]}}",
    "keys": b"{" + b",".join(b'"k%d":0' % number for number in range(80_000)) + b"}",
    "words": b'{"metadata": {"a": [' + b'"",' * 349_000 + b'""]}}',
    "not JSON": b"[]," * 349_000,
    "quotes": b'"' * MEBIBYTE,
    "backslashes": b"\\" * MEBIBYTE,
    "escaped quotes": b'{"message": "' + b'\\",' * 349_000 + b'"',
}


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the least processor time of three runs: the garbage collector may choose any of them."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        action()
        times.append(time.thread_time() - began)
    return min(times)


def post(client: APIClient, path: str, body: bytes) -> Any:
    return client.generic("POST", path, body, "application/json")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_costs_little(session, site, name):
    """Half a second of processor time and more, without the bounds."""
    answers = []

    seconds = cpu_seconds(lambda: answers.append(post(site, messages(session), HOSTILE[name][:MEBIBYTE])))

    assert seconds < 0.1
    response = answers[0]
    assert response.status_code == 400
    assert len(response.content) < 2000


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 20])
@pytest.mark.parametrize(
    "template",
    [
        lambda count: ["x"] * (count - 1),
        lambda count: {f"key{number}": 'a " b \\" , [ {' for number in range(count - 1)},
        lambda count: {"a": {"b": list(range(count - 3))}} if count > 3 else list(range(count - 1)),
    ],
)
def test_values_are_counted_outside_of_strings(template, count):
    body = json.dumps(template(count)).encode()
    assert _holds_more_than(5, body) == (count > 5)


def test_a_text_of_commas_and_brackets_is_one_value(session, site, fake):
    text = '[{,\\"' * 4_000
    assert site.post(messages(session), {"message": text}, "json").status_code == 201


def test_many_invalid_fields_are_reported_in_part(session, site):
    body = {f"{number:04}" + "x" * 900: 0 for number in range(1000)}
    response = site.post(messages(session), body, "json")

    assert problem(response, 400) == "invalid"
    assert len(response.json()["errors"]) == 50
    assert len(response.content) < 60_000


def test_refused_bodies_are_limited_by_caller(acme, alice, session, fake, settings, time_machine):
    time_machine.move_to(datetime.now(UTC), tick=False)  # The minute does not end in between.
    settings.RATES = {**settings.RATES, "refused_bodies": "3/m"}
    client, other = (with_key(issue(acme, alice, scopes=["messages:send"]).secret) for _ in range(2))
    path = messages(session)
    bodies = [b"{", b"{}", b'{"message": ""}', b'{"message": "Hello"}', b"{"]

    answers = [post(client, path, body) for body in bodies]

    assert [answer.status_code for answer in answers] == [400, 400, 400, 429, 429]
    refusal = answers[3].json()
    assert refusal["limit"]["name"] == "refused_bodies"
    assert refusal["detail"].startswith("The limit 'refused_bodies' of 3 for this key is reached.")
    assert 1 <= int(answers[3]["Retry-After"]) <= 60
    assert client.get(path).status_code != 429
    assert post(other, path, bodies[3]).status_code == 201


def test_refused_bodies_are_accepted_again_after_the_period(session, site, fake, settings, time_machine):
    settings.RATES = {**settings.RATES, "refused_bodies": "1/m"}
    path = messages(session)
    time_machine.move_to(datetime.now(UTC), tick=False)
    statuses = [post(site, path, body).status_code for body in (b"{", b"{")]

    time_machine.shift(timedelta(seconds=61))

    assert [*statuses, post(site, path, b"{").status_code] == [400, 429, 400]


@pytest.mark.parametrize("path", ["/api/chat/sessions", "/v1/chat/completions", "/api/chat"])
def test_bodies_are_counted_wherever_they_are_read_first(site, settings, time_machine, path):
    time_machine.move_to(datetime.now(UTC), tick=False)  # The minute does not end in between.
    settings.RATES = {**settings.RATES, "refused_bodies": "1/m"}
    assert [post(site, path, b"[]").status_code for _ in range(2)] == [400, 429]


def test_requests_with_accepted_bodies_need_no_counter(session, site, fake, commands):
    with commands.recording() as recording:
        assert site.post(messages(session), {"message": "Hello"}, "json").status_code == 201
    assert "refused_bodies" not in str(recording)


def test_the_bounds_hold_for_the_largest_accepted_body(session, site):
    body = json.dumps({"message": "x", "metadata": {"a": [[]] * (StrictJSONParser.max_values - 10)}}).encode()
    assert cpu_seconds(lambda: post(site, messages(session), body)) < 0.2
