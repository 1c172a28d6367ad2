"""Request bodies: everything but well-formed, storable JSON is a specific 4xx."""

from __future__ import annotations

import gzip
import json

import pytest
from django.test import Client

from qa.testing.chat import messages

PATH = "/api/auth/login"


def send(client: Client, body: bytes, content_type: str = "application/json"):
    return client.post(PATH, body, content_type)


def nested(levels: int) -> bytes:
    return b'{"email":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b" ", "not JSON"),
        (b"{'email': 1}", "not JSON"),
        (b'{"email": "\xff"}', "not UTF-8"),
        (b'{"email": NaN}', "NaN"),
        (b'{"email": Infinity}', "Infinity"),
        (b'{"email": -Infinity}', "-Infinity"),
        (b'{"email": 1e999}', "too large"),
        (b'{"email": 9223372036854775808}', "64 bits"),
        (b'{"email": -9223372036854775808}', "64 bits"),
        (b'{"email": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"email": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"email": "a\\u0000b"}', "NUL"),
        (b'{"email": 1, "email": 2}', "twice"),
        (b'{"$where": 1}', "'$'"),
        (b'{"email": {"a.b": 1}}', "'.'"),
        (nested(33), "32 levels"),
        (nested(100_000), "32 levels"),
    ],
)
def test_harmful_bodies_are_rejected(db, client, body, words):
    response = send(client, body)

    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "parse_error"
    assert words in response.json()["detail"]


def test_the_parser_accepts_thirty_two_levels(db, client):
    assert send(client, nested(32)).json()["code"] == "invalid"


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"true"])
def test_a_body_that_is_not_an_object_is_invalid(db, client, body):
    response = send(client, body)
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"


def test_a_body_of_more_than_a_mebibyte_is_413(db, client):
    body = json.dumps({"email": "x" * 1024 * 1024}).encode()
    response = send(client, body)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_other_content_types_are_415(db, client, content_type):
    response = send(client, b"email=a", content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/api/auth/login", "/v1/chat/completions"])
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, identity"])
def test_a_compressed_body_is_refused_as_such(db, site, path, coding):
    response = site.generic(
        "POST", path, gzip.compress(b"{}"), "application/json", HTTP_CONTENT_ENCODING=coding
    )
    assert response.status_code == 415
    assert coding in response.content.decode()
    assert response["Accept-Encoding"] == "identity"


def test_a_body_of_the_coding_identity_is_read(site, session, fake):
    response = site.post(messages(session), {"message": "Hi"}, "json", HTTP_CONTENT_ENCODING="Identity")
    assert response.status_code == 201


def test_a_charset_in_the_content_type_is_accepted(db, client):
    response = send(client, b'{"email": "a@example.com"}', "application/json; charset=utf-8")
    assert response.json()["code"] == "invalid"


def test_a_client_that_does_not_accept_json_gets_406(db, client):
    response = client.get("/api/auth/profile", HTTP_ACCEPT="text/html")
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
