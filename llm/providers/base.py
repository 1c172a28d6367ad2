"""What every provider is: a name, a base URL, a key, and two translations.

A provider turns a canonical request into its own JSON (`payload`) and reads its
own JSON back (`reader`). `open` joins the two over HTTP and hands out an
`Exchange`, the only thing the rest of the program iterates over. Adding a
provider is a file with a subclass, a line in `PROVIDERS` and a test.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from decimal import Decimal

from llm import canonical
from llm.providers.exchange import Exchange

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

    def __init__(self, *, api_key: str, base_url: str, model: str) -> None:
        self.api_key = api_key
        self.base_url = base_url.rstrip("/")
        self.model = model

    @property
    def configured(self) -> bool:
        """True if the provider can be tried: it has a key, or needs none and has a base URL.

        A key that is there but cannot be sent (a line break, non-ASCII) counts as
        configured, so that `open` can say what is wrong with it.
        """
        return bool(self.api_key and self.base_url)

    def open(self, request: canonical.Request, model: str, *, stream: bool, limits: Limits) -> Exchange:
        """Return the call to `model`, not yet begun: iterating over it does the network's part.

        Raises NotConfigured when the key or the base URL cannot be used.
        """
        raise NotImplementedError

    def models(self, limits: Limits) -> list[ListedModel]:
        """Return what the provider lists now. Raises ProviderError."""
        raise NotImplementedError
