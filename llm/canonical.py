"""The provider-neutral form of a chat request and of everything that comes back.

Providers translate to and from these classes; routing, chat and the OpenAI-compatible
endpoint see nothing else. A run is a stream of events:

    Started · (Text | Refusal | Reasoning | ToolCallDelta | Restarted)* · (Finished | Failed)

with exactly one `Finished` or `Failed`, always last. On request there are `Waiting` events
between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from llm.errors import ProviderError

Role = Literal["user", "assistant", "tool"]

#: The smallest part of a US dollar that is counted and stored: ten decimal places.
USD_QUANTUM = Decimal("1e-10")

#: Why an answer ended. "refusal": the model declined, in words of its own. "error" is never reported as a
#: success.
Finish = Literal["stop", "tool_calls", "length", "refusal", "blocked", "error"]

#: Where a cost comes from: the provider reported it; the catalogue's price times reported tokens;
#: the same times estimated tokens; no source (the cost is then None).
CostBasis = Literal["reported", "priced", "estimated", "unpriced"]


def quantized_usd(amount: Decimal) -> Decimal:
    """Return a finite amount of US dollars, up to some billions, rounded to `USD_QUANTUM`s."""
    return amount.quantize(USD_QUANTUM)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model requests. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema or None."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


#: What a message can contain beside text.
MediaKind = Literal["image", "audio", "file"]


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a recording or a document. `url` is https or data:, of audio always data:.

    `detail` is how closely the model looks at an image, `filename` that of a document.
    """

    kind: MediaKind
    url: str
    detail: str | None = None
    filename: str | None = None

    def content(self) -> tuple[str, str] | None:
        """Return media type and base64 text of a data: URL; None for any other URL."""
        head, comma, data = self.url.partition(",")
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            return None
        return head.removeprefix("data:").partition(";")[0], data


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation.

    `parts` are texts and media in their order, of a message that has media; `text` is then all its texts,
    joined. `name` says which of several participants speaks. `reasoning` is that of an assistant's message,
    as the client sent it back. `opaque` keeps what a provider needs back unchanged
    (Gemini's thought signatures, OpenRouter's reasoning details) under that provider's name;
    it is never sent to another one.
    """

    role: Role
    text: str = ""
    parts: tuple[str | Media, ...] = ()
    name: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    opaque: dict[str, Any] | None = None

    @property
    def media(self) -> list[Media]:
        return [part for part in self.parts if isinstance(part, Media)]


@dataclass(frozen=True, slots=True)
class Request:
    """A chat request. None means not sent: the provider's default applies.

    `tool_choice` is "auto", "none", "required" or the name of one tool.
    `json_schema` is `{"name", "schema", "strict"?}`; `json_mode` requests any JSON object. `notes` say what
    of the client's request is not in this one. The first `history` messages may be left out, the oldest
    first, where a window is too small.
    """

    messages: tuple[Message, ...]
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    json_mode: bool = False
    json_schema: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    verbosity: str | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    history: int = 0

    def continuing(self, partial: str) -> Request:
        """This request with `partial` as an assistant prefix to be continued."""
        return replace(self, messages=(*self.messages, Message("assistant", partial)))


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a provider, written `provider/model` in routes and receipts."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt. `cached` is part of `input`, `reasoning` part of `output`.

    `cost` is in USD as the provider reported it, None if it did not. `estimated` marks counts
    that are ours (`llm.estimate`), of one side or both.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cost: Decimal | None = None
    estimated: bool = False

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(slots=True)
class Attempt:
    """One call to one target: a line of the receipt.

    `outcome` is "ok", "cancelled" or the `kind` of the `ProviderError`. `waited_ms` is the
    time waited before the call (Retry-After, backoff). `first_token_ms` and `latency_ms`
    count from the start of the call. `cost` is in USD. `delivered`: it has no whole answer, and yet
    counts as one, because not the provider ended it (`llm.receipt`). `notes` say in sentences what of the
    client's request was left out or changed for the target.
    """

    target: Target
    outcome: str
    status: int | None = None
    reason: str = ""
    waited_ms: int = 0
    first_token_ms: int | None = None
    latency_ms: int = 0
    model_used: str = ""
    response_id: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    cost_basis: CostBasis = "unpriced"
    delivered: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer (or, in `Failed`, what there is of one). `refusal` are the words of a refusal."""

    text: str
    finish: Finish
    target: Target
    model_used: str = ""
    raw_finish: str = ""
    response_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    opaque: dict[str, Any] | None = None
    usage: Usage = field(default_factory=Usage)


# -- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """`target` has started to answer."""

    target: Target


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is nothing new, but the run goes on: a chance to send the client a sign of life."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words with which the model declines. A client without a place for them shows them as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Retracted:
    """The text of this call so far was reasoning, as its end shows: it is no part of the answer."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The model's reasoning; never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a tool call. `id` and `name` come once per `index`, with the first fragment."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The text and tool calls sent so far are to be discarded; `target` starts the answer again."""

    reason: str
    target: Target


@dataclass(frozen=True, slots=True)
class Finished:
    completion: Completion


@dataclass(frozen=True, slots=True)
class Failed:
    """No target gave a complete answer; `partial` is what the client has of one."""

    error: ProviderError
    partial: Completion | None = None


#: What a call to a provider yields before its end.
Delta = Text | Refusal | Reasoning | Retracted | ToolCallDelta

Event = Started | Waiting | Text | Refusal | Reasoning | ToolCallDelta | Restarted | Finished | Failed
