"""What every provider is: a name, a base URL, a key, and two translations.

A provider turns a canonical request into its own JSON (`payload`) and reads its own JSON
back (`reader`). `open` joins the two over HTTP and returns a `ProviderCall`, the only thing
the rest of the program iterates over. Adding a provider takes a file with a subclass, a line
in `PROVIDERS` and a test.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from llm import canonical, errors
from llm.providers import error_responses
from llm.providers.call import ProviderCall
from llm.providers.error_responses import ErrorResponse, read_error_response
from llm.providers.network_errors import NETWORK_ERRORS, network_error
from llm.providers.reader import Reader
from llm.providers.refusals import deciding_line, meaning_of
from llm.providers.repairs import Paths, RepairMemory
from llm.providers.stream import StreamError, parse_json
from llm.providers.transport import CallDeadline, DeadlineExceeded, Transport

MIB = 1024 * 1024

#: Parameters without which an answer is no wrong one.
_OPTIONAL = (
    *("seed", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"),
    *("parallel_tool_calls", "verbosity"),
)


def needs(request: canonical.Request) -> frozenset[str]:
    """Return what a provider has to accept to answer `request`: kinds of media, and `logit_bias`."""
    media = {media.kind for message in request.messages for media in message.media}
    return frozenset({*media, "logit_bias"} if request.logit_bias else media)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take: seconds of wall clock, and bytes of decoded body.

    `first_token_seconds` counts from the start of the call and applies to streams; an answer
    that is not streamed is bounded by `total_seconds` only, because its first byte is its
    last. A token is text, reasoning or a piece of a tool call: comments and empty chunks
    extend nothing. With `is_patient` a provider that has accepted the request (a status of 2xx) may take
    `total_seconds` for its first token, too.
    """

    connect_seconds: float = 5
    first_token_seconds: float = 10
    between_tokens_seconds: float = 10
    total_seconds: float = 120
    max_reply_bytes: int = 8 * MIB
    max_event_bytes: int = 2 * MIB
    is_patient: bool = False


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model the provider lists now. `prices` are USD per million tokens (input, output)."""

    id: str
    context_window: int | None = None
    prices: tuple[Decimal, Decimal] | None = None


class Provider(ABC):
    name: str
    label: str
    needs_key = True
    #: What it accepts of `needs`.
    accepts: frozenset[str] = frozenset({"image", "audio", "file", "logit_bias"})
    #: Where a payload has the parameters that can be repaired.
    parameters: Paths = {}

    def __init__(self, *, api_key: str, base_url: str, model: str) -> None:
        self.api_key = api_key
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.transport = Transport(pool_size=settings.LLM_POOL)
        self.repairs = RepairMemory()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    @property
    def configured(self) -> bool:
        """True if the provider can be tried: it has a base URL, and a key if it needs one.

        A key that cannot be sent (a line break, non-ASCII) counts as configured, so that
        `open` can report what is wrong with it.
        """
        return bool(self.base_url and (self.api_key or not self.needs_key))

    def open(
        self,
        request: canonical.Request,
        model: str,
        *,
        stream: bool,
        limits: Limits,
        checks_tools: bool = True,
        can_restart: bool = True,
    ) -> ProviderCall:
        """Return the call to `model`, not yet started: iterating over it does the network part.

        With `checks_tools` a call of a tool that cannot be used is a BadReply, else part of the answer.
        `can_restart` says whether text that was yielded can be taken back.
        Raises NotConfigured when the key or the base URL cannot be used.
        """
        self.check()
        return ProviderCall(
            self,
            request,
            model,
            stream=stream,
            limits=limits,
            checks_tools=checks_tools,
            can_restart=can_restart,
        )

    def check(self) -> None:
        """Raise NotConfigured if the key or the base URL is missing or cannot be used."""
        variable = self.name.upper()
        parts = urlsplit(self.base_url)
        if not self.base_url:
            problem = f"{variable}_BASE_URL is not set."
        elif parts.scheme not in {"http", "https"} or not parts.hostname:
            problem = f"{variable}_BASE_URL is not an http or https URL."
        elif self.needs_key and not self.api_key:
            problem = f"{variable}_API_KEY is not set."
        elif not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            problem = f"{variable}_API_KEY has a space, a line break or a character outside ASCII in it."
        else:
            return
        raise errors.NotConfigured(f"{self.label} is not configured: {problem}", provider=self.name)

    def headers(self) -> dict[str, str]:
        """Return the headers of every request; the key goes here and nowhere else."""
        return {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": "chat-agent-platform",
            **self.authorization(),
        }

    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @abstractmethod
    def chat_url(self, model: str, stream: bool) -> str: ...

    @abstractmethod
    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        """Return the body of the request, as the provider expects it."""

    def ignored(self, model: str) -> frozenset[str]:
        """Return the names of parameters that are left out for `model`, as it would refuse or ignore them."""
        return frozenset()

    def notes(self, request: canonical.Request, model: str) -> tuple[str, ...]:
        """Return a sentence for each parameter of `request` that is left out for `model`."""
        given = {
            "name": any(message.name for message in request.messages),
            "detail": any(media.detail for message in request.messages for media in message.media),
            **{name: getattr(request, name) is not None for name in _OPTIONAL},
        }
        names = (name for name in sorted(self.ignored(model)) if given[name])
        return tuple(f"{name} was left out: {self.label} does not use it." for name in names)

    @abstractmethod
    def reader(self, request: canonical.Request, target: canonical.Target) -> Reader:
        """Return what reads the response, whole or streamed."""

    @abstractmethod
    def models(self, limits: Limits) -> list[ListedModel]:
        """Return what the provider lists now. Raises ProviderError."""

    # -- errors --------------------------------------------------------------------

    def retry_delay(self, response: ErrorResponse) -> tuple[float | None, bool]:
        """Return (seconds to wait, True if waiting does not help or for how long is not known)."""
        return error_responses.retry_delay(response)

    def error_from(self, response: ErrorResponse, model: str) -> errors.ProviderError:
        """Return the error that a response means, by its status or in its body."""
        seconds, do_not_wait = self.retry_delay(response)
        line = deciding_line(response)
        return error_responses.error_from(
            meaning_of(response, line),
            response,
            name=self.name,
            label=self.label,
            model=model,
            secret=self.api_key,
            retry_after_seconds=seconds,
            do_not_wait=do_not_wait,
            by_model=line is not None and line.meaning is errors.BadReply,
        )

    def without_rejected_fields(
        self, payload: dict[str, Any], error: errors.ProviderError
    ) -> dict[str, Any] | None:
        """Return a payload without the fields that the provider rejected, to send once; None if none were."""
        return None

    # -- listing ---------------------------------------------------------------------

    def get(self, path: str, limits: Limits) -> Any:
        """Return the decoded JSON at `path` under the base URL. Raises ProviderError."""
        self.check()
        deadline = CallDeadline(
            connect_seconds=limits.connect_seconds, expires_at=time.monotonic() + limits.total_seconds
        )
        facts: dict[str, Any] = {"provider": self.name}
        content = bytearray()
        try:
            body = self.transport.send(deadline, "GET", self.base_url + path, self.headers())
            facts["status"] = body.status
            if not body.ok:
                raise self.error_from(read_error_response(body, deadline), self.model)
            body.read_into(content, limits.max_reply_bytes + 1)
            body.close()
            if len(content) > limits.max_reply_bytes:
                raise errors.ReplyTooLarge(f"{self.label} sent a list larger than allowed.", **facts)
            return parse_json(content.decode("utf-8-sig", errors="replace"))
        except DeadlineExceeded as error:
            message = f"{self.label} did not answer within {limits.total_seconds:g} s."
            raise errors.ProviderSilent(message, **facts) from error
        except (StreamError, *NETWORK_ERRORS) as error:
            raise network_error(error, self.label, facts) from error
