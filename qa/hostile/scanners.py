"""Functions that take text apart by hand, and how each is given a caller's or provider's text.

Every function of the product that splits or parses text is either here or in `NOT_REACHED`, with the reason
why no text of a caller or provider comes to it; `unlisted()` finds those that are in neither.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.test import RequestFactory
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from accounts.mailed_tokens import user_of
from accounts.models import can_be_mailed, normalised_email
from chat.analytics.serializers import MomentField
from chat.export import _line, _quoted
from chat.turns.session_counters import title_of
from chat.turns.sse import last_position
from chat.visitors import VisitorAuthentication
from core.api.addresses import client_address
from core.api.etags import check_if_match
from core.api.idempotency import idempotency_key
from core.api.negotiation import JSONNegotiation
from core.api.page_origin import page_origin
from core.api.pagination import CursorPages
from core.api.parsers import StrictJSONParser
from core.api.proxies import take_host
from core.errors import DomainError
from core.logs import ConsoleFormatter, JSONFormatter
from core.mongo.ids import object_id
from core.mongo.text_search import inner_words, search_expression, words_of
from core.origins import normalised_origin
from core.server.environ import plain_content_type
from core.time import now_in_milliseconds
from llm.canonical import Media
from llm.errors import BadRequest
from llm.providers import error_responses, retry_after
from llm.providers.completion_builder import _is_json_object, _unwrapped
from llm.providers.error_responses import parse_error
from llm.providers.refusals import deciding_line
from llm.providers.repairs import find_repair
from llm.providers.stream.body import StreamError
from llm.providers.stream.json_stream import parse_json
from llm.providers.stream.sse import EventParser
from llm.providers.text import IncrementalSanitizer, ThinkFilter, sanitized
from llm.rescue import StreamSplicer
from llm.route import parse_route
from qa.hostile.source import calls
from tenants.admin.forms import CommaSeparatedField
from tenants.authentication import BearerKeyAuthentication, MemberAuthentication
from tenants.models.origins import is_localhost, patterns_allowing
from tenants.serializers import ApiKeySerializer
from tenants.webhooks.serializers import _https_host, _is_private_literal

_METHODS = {"split", "rsplit", "partition", "rpartition", "splitlines", "fromisoformat", "rfind"}
_FUNCTIONS = {"urlsplit", "urlparse", "parse_qs", "parse_qsl", "ip_address", "ip_network", "loads"}
_FUNCTIONS |= {"parsedate_to_datetime", "parse_datetime", "b64decode", "urlsafe_b64decode", "raw_decode"}

_REFUSALS = (
    APIException,
    DomainError,
    StreamError,
    SuspiciousOperation,
    TypeError,
    ValidationError,
    ValueError,
)

Read = Callable[[str], object]


def _request(**headers: str) -> Any:
    """Return a request whose headers have a caller's text, as WSGI passes it on: in Latin-1."""
    environ: dict[str, Any] = {name: _latin_1(text) for name, text in headers.items()}
    if "CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = plain_content_type(environ["CONTENT_TYPE"])
    return Request(RequestFactory().get("/", **environ))


def _latin_1(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")


def _header(name: str, read: Callable[[Any], object], before: str = "") -> Read:
    """Return a reader of a request with a text in a header, `before` which the header has something else."""
    return lambda text: read(_request(**{name: before + text}))


def _document() -> Any:
    return SimpleNamespace(pk="0" * 24, updated_at=now_in_milliseconds())


def _log(text: str) -> None:
    for formatter in (ConsoleFormatter(), JSONFormatter()):
        error = ValueError(text)
        record = logging.LogRecord("chat", 20, "", 0, "%s", (text,), (type(error), error, None))
        record.path = text
        formatter.format(record)


def _refusal(text: str) -> None:
    error = {"message": text, "param": text, "metadata": {"raw": text}}
    response = parse_error({"error": error}, status=400, headers={f"x-ratelimit-reset-{text}": text})
    deciding_line(response)
    error_responses.retry_delay(response)
    payload = {"max_tokens": 5000, "temperature": 1.5, "reasoning_effort": "high"}
    find_repair(response, BadRequest(""), payload, {name: (name,) for name in payload})


#: Reader of text -> the places in the source that it covers.
SCANNERS: dict[Read, tuple[str, ...]] = {
    _header("HTTP_AUTHORIZATION", MemberAuthentication().authenticate, "Bearer "): (
        "accounts.authentication:JWTAuthentication.authenticate",
    ),
    _header("HTTP_AUTHORIZATION", VisitorAuthentication().authenticate, "Bearer "): (
        "chat.visitors:VisitorAuthentication.authenticate",
    ),
    _header("HTTP_AUTHORIZATION", BearerKeyAuthentication().secret, "Bearer "): (
        "tenants.authentication:BearerKeyAuthentication.secret",
    ),
    _header("HTTP_X_FORWARDED_FOR", client_address): (
        "core.api.addresses:_address_of",
        "core.api.addresses:_parsed",
        "core.api.addresses:network_of",
    ),
    _header("HTTP_X_FORWARDED_HOST", take_host): ("core.api.proxies:take_host",),
    _header("HTTP_IF_MATCH", lambda request: check_if_match(request, _document())): (
        "core.api.etags:check_if_match",
    ),
    lambda text: plain_content_type(f"multipart/form-data;{text}"): (
        "core.server.environ:plain_content_type",
    ),
    _header("CONTENT_TYPE", lambda request: JSONNegotiation().select_parser(request, [StrictJSONParser()])): (
        "core.api.negotiation:JSONNegotiation.select_parser",
    ),
    _header("HTTP_ACCEPT", lambda request: JSONNegotiation().select_renderer(request, [])): (
        "core.api.negotiation:JSONNegotiation.select_renderer",
    ),
    _header("HTTP_IDEMPOTENCY_KEY", idempotency_key): (),
    lambda text: CursorPages().decode_cursor(_request(QUERY_STRING=f"cursor={text}")): (),
    last_position: (),
    normalised_origin: (),
    lambda text: normalised_origin(f"https://{text}"): (
        "core.origins:normalised_origin",
        "core.origins:_in_ascii",
    ),
    _header("HTTP_REFERER", page_origin, "https://"): ("core.api.page_origin:_origin_of",),
    _quoted: ("chat.export:_quoted",),
    _line: ("chat.export:_line",),
    lambda text: normalised_email(f"a@{text}"): ("accounts.models:normalised_email",),
    lambda text: can_be_mailed(f"a@{text}"): (),
    lambda text: user_of(text, PasswordResetTokenGenerator()): ("accounts.mailed_tokens:user_of",),
    MomentField().to_internal_value: ("chat.analytics.serializers:MomentField.to_internal_value",),
    title_of: ("chat.turns.session_counters:title_of",),
    lambda text: StrictJSONParser().parse(io.BytesIO(text.encode())): (
        "core.api.parsers:StrictJSONParser.parse",
        "core.api.parsers:_holds_more_than",
    ),
    lambda text: StrictJSONParser().parse(io.BytesIO(f'{{"a": "{text}"}}'.encode())): (),
    words_of: ("core.mongo.text_search:_parts",),
    search_expression: (),
    inner_words: ("core.mongo.text_search:inner_words",),
    lambda text: search_expression(f"茶{text}"): (),
    lambda text: inner_words(f"茶{text}"): (),
    object_id: (),
    _unwrapped: ("llm.providers.completion_builder:_unwrapped",),
    _is_json_object: ("llm.providers.completion_builder:_is_json_object",),
    retry_after.seconds_of: ("llm.providers.retry_after:seconds_of",),
    retry_after.from_message: (),
    retry_after.seconds_until: ("llm.providers.retry_after:seconds_until",),
    lambda text: _feed(EventParser(10**6), [text.encode()]): (
        "llm.providers.stream.sse:EventParser.feed",
        "llm.providers.stream.sse:_events",
        "llm.providers.stream.sse:_event",
    ),
    parse_json: ("llm.providers.stream.json_stream:parse_json",),
    sanitized: (),
    lambda text: Media("file", f"data:{text}").content(): ("llm.canonical:Media.content",),
    lambda text: parse_route([text]): ("llm.route:_parse_target",),
    CommaSeparatedField().to_python: ("tenants.admin.forms:CommaSeparatedField.to_python",),
    patterns_allowing: ("tenants.models.origins:patterns_allowing",),
    lambda text: patterns_allowing(f"https://{text}"): (),
    is_localhost: ("tenants.models.origins:is_localhost",),
    lambda text: ApiKeySerializer().validate_allowed_networks([text]): (
        "tenants.serializers:ApiKeySerializer.validate_allowed_networks",
    ),
    lambda text: _https_host(f"https://{text}"): (
        "tenants.webhooks.serializers:_https_host",
        "tenants.webhooks.serializers:_is_host",
    ),
    _is_private_literal: ("tenants.webhooks.serializers:_is_private_literal",),
}


def _feed(reader: Any, pieces: Any) -> None:
    for piece in pieces:
        reader.feed(piece)
    if hasattr(reader, "close"):
        reader.close()


#: Readers whose cost of a character is higher: it comes alone, or is written in several forms.
COSTLIER: dict[Read, tuple[str, ...]] = {
    _log: ("core.logs:ConsoleFormatter.format",),
    _refusal: (
        "llm.providers.error_responses:_json_in",
        "llm.providers.wording:shortened",
        "llm.providers.length_wording:_int",
        "llm.providers.retry_after:_resets_of_limits_used_up",
        "llm.providers.repairs:_named",
    ),
    lambda text: _feed(ThinkFilter(), text): ("llm.providers.text:ThinkFilter.feed",),
    lambda text: _feed(ThinkFilter(), "<think>" + text): (),
    lambda text: _feed(IncrementalSanitizer(), text): (),
    lambda text: _feed(EventParser(10**6), (bytes([byte]) for byte in text.encode()[: len(text)])): (),
    lambda text: _feed(StreamSplicer(text, continuing=True), text): (),
}

#: Places to which no text of a caller or provider comes, or only a short one, and why.
NOT_REACHED = {
    "chat.openai.views:_model": "names of the catalogue",
    "chat.turns.replies:is_settled": "names of columns",
    "chat.turns.replies:_set_aside": "names of columns",
    "config.environment:Variable._parsed_url": "the operator's settings",
    "config.combinations:_anywhere": "the operator's settings",
    "config.combinations:check": "sentences of our own",
    "config.settings:": "the operator's settings",
    "config.web_settings:proxies": "the operator's settings",
    "config.web_settings:public_url": "the operator's settings",
    "core.api.idempotency:_seal": "an answer of our own",
    "core.api.idempotency:_replay": "an answer of our own",
    "core.api.throttling:_period_seconds": "the operator's settings",
    "core.mongo.cache:_decoded": "a value of our own",
    "core.mongo.deployment:_reason": "an error of a connection",
    "core.server.adapter:StartResponse.__call__": "the status line of our own answer",
    "core.server.environ:environ_of": "addresses of sockets",
    "llm.catalogue:_document": "the operator's file",
    "llm.catalogue:_day": "the operator's file",
    "llm.providers.base:Provider.check": "the operator's settings",
    "llm.providers.openai_dialect:_part": "a media type of ours, before a format of ten characters",
    "llm.providers.finish_reasons:": "a table of ours",
    "llm.token_estimate:": "a table of ours",
    "llm.providers.refusal_table:_codes": "a table of ours",
    "llm.providers.gemini:_function_call": "arguments of a tool call, which the request's parser has read",
    "tenants.billing.alerts:_single_line": "a tenant's name, which its field has bounded",
    "tenants.models.api_key:ApiKey.allows_address": "an address and networks that were parsed before",
    "tenants.models.invitation:_mail": "a tenant's name, which its field has bounded",
    "tenants.webhooks.addresses:": "a table of ours",
    "tenants.webhooks.addresses:public_addresses": "addresses that the resolver returns",
    "tenants.webhooks.sender:Sender.send": "a URL that its field has bounded",
}


def unlisted() -> list[str]:
    """Return the places that take text apart and are in no table here."""
    listed = {place for places in (*SCANNERS.values(), *COSTLIER.values()) for place in places}
    return sorted(_places() - listed - set(NOT_REACHED))


def stale() -> list[str]:
    """Return the places in NOT_REACHED that take no text apart any more."""
    return sorted(set(NOT_REACHED) - _places())


def _places() -> set[str]:
    return set(_found())


def _found() -> Iterator[str]:
    for call in calls():
        if call.method in _FUNCTIONS or (call.method in _METHODS and call.receiver not in ("re", "")):
            yield f"{call.module}:{call.function}"


def quiet(read: Read) -> Read:
    """Return `read` without its refusals: only the time counts."""

    def action(text: str) -> None:
        with contextlib.suppress(*_REFUSALS):
            read(text)

    return action
