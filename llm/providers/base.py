"""What every provider is: a name, a base URL, a key, and two translations.

A provider turns a canonical request into its own JSON (`payload`) and reads its
own JSON back (`reader`). `open` joins the two over HTTP and hands out an
`Exchange`, the only thing the rest of the program iterates over. Adding a
provider is a file with a subclass, a line in `PROVIDERS` and a test.
"""

from __future__ import annotations

import http.client
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings

from llm import canonical, errors
from llm.providers import refusals
from llm.providers.answer import Reader
from llm.providers.body import Garbled, Truncated
from llm.providers.documents import parse
from llm.providers.exchange import Exchange, network_error, refused
from llm.providers.transport import Call, Expired, Transport

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take: seconds of wall clock, and bytes of decoded body.

    `first_token_seconds` counts from the start of the call and holds for streams;
    an answer asked for whole is bounded by `total_seconds` only, because its
    first byte is its last. A token is text, reasoning or a piece of a tool call:
    comments and empty chunks extend nothing.
    """

    connect_seconds: float = 5
    first_token_seconds: float = 10
    between_tokens_seconds: float = 10
    total_seconds: float = 120
    max_reply_bytes: int = 8 * MIB
    max_event_bytes: int = 2 * MIB


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

    def __init__(self, *, api_key: str, base_url: str, model: str) -> None:
        self.api_key = api_key
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.transport = Transport(pool_size=settings.LLM_POOL)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    @property
    def configured(self) -> bool:
        """True if the provider can be tried: it has a base URL, and a key if it needs one.

        A key that is there but cannot be sent (a line break, non-ASCII) counts as
        configured, so that `open` can say what is wrong with it.
        """
        return bool(self.base_url and (self.api_key or not self.needs_key))

    def open(self, request: canonical.Request, model: str, *, stream: bool, limits: Limits) -> Exchange:
        """Return the call to `model`, not yet begun: iterating over it does the network's part.

        Raises NotConfigured when the key or the base URL cannot be used.
        """
        self.check()
        return Exchange(self, request, model, stream=stream, limits=limits)

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
        """Return the body of the call, as the provider wants it."""

    @abstractmethod
    def reader(self, request: canonical.Request, target: canonical.Target) -> Reader:
        """Return what reads the answer, whole or streamed."""

    @abstractmethod
    def models(self, limits: Limits) -> list[ListedModel]:
        """Return what the provider lists now. Raises ProviderError."""

    def judge(self, refusal: refusals.Refusal) -> type[errors.ProviderError] | None:
        """Return the kind of error if this provider has a rule of its own for it."""
        return None

    def waiting(self, refusal: refusals.Refusal) -> tuple[float | None, bool]:
        """Return (seconds to wait, True if no wait helps)."""
        # A single request larger than the limit per minute: Groq's rate limit as 413.
        return refusals.waiting(refusal), refusal.status == 413

    def refused(self, refusal: refusals.Refusal, model: str) -> errors.ProviderError:
        """Return the error that a refusal, by status or inside an answer, means."""
        seconds, do_not_wait = self.waiting(refusal)
        return refusals.error(
            self.judge(refusal) or refusals.kind_of(refusal),
            refusal,
            name=self.name,
            label=self.label,
            model=model,
            secret=self.api_key,
            retry_after_seconds=seconds,
            do_not_wait=do_not_wait,
        )

    def repaired(self, payload: dict[str, Any], error: errors.ProviderError) -> dict[str, Any] | None:
        """Return a payload without what the provider refused, to be sent once; None if there is none."""
        return None

    def get(self, path: str, limits: Limits) -> Any:
        """Return the decoded JSON at `path` under the base URL. Raises ProviderError."""
        self.check()
        call = Call(connect_seconds=limits.connect_seconds, deadline=time.monotonic() + limits.total_seconds)
        facts: dict[str, Any] = {"provider": self.name}
        try:
            body = self.transport.send(call, "GET", self.base_url + path, self.headers())
            facts["status"] = body.status
            if not 200 <= body.status < 300:
                raise refused(self, body, call, self.model)
            content = bytearray()
            try:
                while data := body.read():
                    content += data
                    if len(content) > limits.max_reply_bytes:
                        raise errors.ReplyTooLarge(f"{self.label} sent a list larger than allowed.", **facts)
            finally:
                body.drop()
            return parse(content.decode("utf-8-sig", errors="replace"))
        except Expired as error:
            silence = f"{self.label} did not answer within {limits.total_seconds:g} s."
            raise errors.ProviderSilent(silence, **facts) from error
        except (
            *(Truncated, Garbled, requests.RequestException),
            *(http.client.HTTPException, OSError),
        ) as error:
            raise network_error(error, self.label, facts) from error


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one: any part of an answer may be anything."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
