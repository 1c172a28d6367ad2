"""Changes to a request that a provider refused because of a parameter, and what is remembered of them.

A refusal names the parameter, by its field or in words (`find_repair`). The request is then sent once more
without it, with a value that is allowed, or under another name. What is true of every request to the
model is remembered for the target, so that the next call is right at once. No repair changes what the
answer is about: messages, tools, formats and stop sequences stay, and a limit of the answer is only lowered.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm import errors
from llm.providers.error_responses import ErrorResponse
from llm.providers.json_values import as_dict, as_list
from llm.providers.length_wording import MIN_ANSWER_TOKENS, numbers, room_for_answer
from llm.providers.wording import Wording, shortened
from llm.reasoning_effort import SCALE, nearest

#: Where a parameter is in a payload.
Path = tuple[str, ...]

#: Parameter -> where the provider has it.
Paths = Mapping[str, Path]

#: A provider may accept later what it refuses now.
REMEMBERED_SECONDS = 3600.0
_MAX_MODELS, _MAX_REPAIRS = 1024, 8

#: Parameters that only shape how an answer is drawn: without them it is an answer to the same request.
SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "seed"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty"),
)
_OPTIONAL = (*SAMPLING, "parallel_tool_calls", "verbosity", "stream_options", "reasoning_effort")

_ANSWER_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Repair:
    """A change to the parameter `name` at `path`: one of the following, or it is left out.

    `to`: another name. `most`: a lower number. `allowed`: the nearest of these levels. `refused`: left out
    if it has this value. `lasting`: it holds for every request to the model.
    """

    name: str
    path: Path
    to: str = ""
    most: float | None = None
    allowed: tuple[str, ...] = ()
    refused: str = ""
    lasting: bool = True

    def replaces(self, other: Repair) -> bool:
        """Whether `other` is the same kind of change of the same parameter: one of both is enough."""
        return self.name == other.name and bool(self.to) == bool(other.to) and self.refused == other.refused

    def apply(self, payload: dict[str, Any]) -> str:
        """Change `payload`; return what was changed, "" for nothing."""
        parent = _parent(payload, self.path)
        key = self.path[-1]
        if parent is None or key not in parent:
            return ""
        value = parent[key]
        if self.to:
            parent[self.to] = parent.pop(key)
            return f"{self.name} was sent as {self.to}."
        if self.most is not None:
            if not isinstance(value, (int, float)) or value <= self.most:
                return ""
            parent[key] = self.most
            return f"{self.name} was lowered from {value} to {self.most}."
        if self.allowed:
            level = nearest(str(value).lower(), self.allowed)
            if level is None or level == value:
                return ""
            parent[key] = level
            return f"{self.name} was changed from {value} to {level}."
        if self.refused and value != self.refused:
            return ""
        del parent[key]
        return f"{self.name} was left out: it was refused."


class RepairMemory:
    """The repairs of one provider that hold for every request, by model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repairs: OrderedDict[str, tuple[float, tuple[Repair, ...]]] = OrderedDict()

    def remember(self, model: str, repairs: tuple[Repair, ...]) -> None:
        lasting = tuple(repair for repair in repairs if repair.lasting)
        if not lasting:
            return
        with self._lock:
            _, known = self._repairs.get(model, (0.0, ()))
            still = [old for old in known if not any(new.replaces(old) for new in lasting)]
            kept = (*still, *lasting)[-_MAX_REPAIRS:]
            self._repairs[model] = (time.monotonic() + REMEMBERED_SECONDS, kept)
            self._repairs.move_to_end(model)
            if len(self._repairs) > _MAX_MODELS:
                self._repairs.popitem(last=False)

    def apply(self, model: str, payload: dict[str, Any]) -> list[str]:
        """Change `payload` as remembered for the model; return what was changed."""
        with self._lock:
            expires_at, repairs = self._repairs.get(model, (0.0, ()))
            if repairs and expires_at < time.monotonic():
                del self._repairs[model]
                repairs = ()
        return [change for repair in repairs if (change := repair.apply(payload))]


def find_repair(
    response: ErrorResponse, error: errors.ProviderError, payload: dict[str, Any], paths: Paths
) -> tuple[Repair, ...]:
    """Return the changes that the refusal calls for; empty if there is nothing to change."""
    reason = response
    while reason.inner is not None:
        reason = reason.inner
    message = shortened(reason.message)
    sent = _sent(payload, paths)
    limit = sent.get("max_tokens")
    value = _value(payload, limit) if limit else None
    match error:
        case errors.RateLimited():
            return _cap(limit, payload, _what_a_minute_allows(message, value))
        case errors.BillingRefused():
            return _cap(limit, payload, _affordable(message))
        case errors.ContextTooLong():
            return _cap(limit, payload, _room(message, value))
        case errors.BadRequest() | errors.Unsupported():
            return _for_parameter(reason, message, payload, sent)
    return ()


# -- limits of the answer ------------------------------------------------------------

#: A smaller number in a message is no maximum of answers, but the beginning of a range.
_SMALLEST_MAXIMUM = 16

#: Groq: https://github.com/continuedev/continue/issues/10218 (2026-02)
_OF_A_MINUTE = re.compile(r"\blimit:? (\d{1,9})\b.{0,40}?\brequested:? (\d{1,9})\b", re.IGNORECASE)
#: OpenRouter: https://openrouter.ai/docs/api/reference/errors-and-debugging (2026-11)
_AFFORDABLE = re.compile(r"can only afford (\d{1,9})\b", re.IGNORECASE)


def _cap(
    path: Path | None,
    payload: dict[str, Any],
    most: int | None,
    *,
    lasting: bool = False,
    at_least: int = MIN_ANSWER_TOKENS,
) -> tuple[Repair, ...]:
    if path is None:
        return ()
    value = _value(payload, path)
    if most is None or not isinstance(value, int) or not at_least <= most < value:
        return ()
    return (Repair("max_tokens", path, most=most, lasting=lasting),)


def _what_a_minute_allows(message: str, value: Any) -> int | None:
    match = _OF_A_MINUTE.search(message)
    if match is None or not isinstance(value, int) or int(match[2]) <= int(match[1]):
        return None
    return value - (int(match[2]) - int(match[1]))


def _affordable(message: str) -> int | None:
    match = _AFFORDABLE.search(message)
    return int(match[1]) if match else None


def _room(message: str, value: Any) -> int | None:
    """Return what the prompt leaves of the window; None if a target with a larger one should answer."""
    room = room_for_answer(message)[1]
    enough = room is not None and isinstance(value, int) and room >= min(1024, value // 4)
    return room if enough else None


def _highest_allowed(message: str, value: Any) -> int | None:
    """Return the largest number in the message that is below `value`: the end of the allowed range."""
    allowed = [number for number in numbers(message) if number < value]
    most = max(allowed, default=None)
    exclusive = re.search(r"exclusive|(?:must be|should be) less than (?!or equal)", message, re.IGNORECASE)
    return most - 1 if most is not None and exclusive else most


# -- parameters -----------------------------------------------------------------------

#: Parameter -> its names in messages.
SPELLINGS = {
    "max_tokens": r"max_tokens|max_completion_tokens|max_output_tokens|max_new_tokens|maxoutputtokens"
    r"|max(?:imum)? (?:output )?tokens|output tokens|completion tokens|num_predict",
    "temperature": r"temperature",
    "top_p": r"top_?p",
    "top_k": r"top_?k",
    "min_p": r"min_?p",
    "seed": r"seed",
    "frequency_penalty": r"frequency_?penalty|^penalty",
    "presence_penalty": r"presence_?penalty|^penalty",
    "repetition_penalty": r"repetition_?penalty|repeat_penalty",
    "parallel_tool_calls": r"parallel_tool_calls",
    "verbosity": r"verbosity",
    "stream_options": r"stream_options|include_usage",
    "reasoning_effort": r"reasoning[_. ]?effort|thinking[_ ]?(?:level|config)|think(?:ing)?(?= (?:value|is))"
    r"|(?<=support )(?:thinking|reasoning)|reasoning(?= (?:is|parameter))",
}
_MENTIONS = {name: Wording(rf"(?<![a-z_])(?:{words})(?![a-z_])") for name, words in SPELLINGS.items()}

_REFUSES = Wording(
    r"unsupported|not (?:be )?(?:supported|permitted|allowed|accepted|enabled|available|recogni[sz]ed|valid)",
    r"(?:un|not )recogni[sz]ed|unknown|unexpected|invalid|extra (?:inputs|fields)|forbidden|deprecated",
    r"does(?:n't| not) (?:support|accept|allow)|must (?:be|not)|should be|range|only the default",
    r"supported values|disallowed|too (?:large|high|big|many)|(?:less|greater) than|at most|exceeds?",
    r"cannot|can't|can only|both|not set|>",
)
_UNKNOWN_NAME = Wording(
    r"unsupported parameter|not supported|unknown|(?:un|not )recogni[sz]ed|extra (?:inputs|fields)",
    r"not permitted|unexpected|instead|deprecated|does(?:n't| not) support (?:the )?(?:parameter|max_)",
)
_LEVELS = re.compile(rf"(?<![a-z_])(?:{'|'.join(SCALE)})(?![a-z_])", re.IGNORECASE)
_BOTH = Wording(r"\b(?:both|together|at the same time|only one)\b")
#: No host knows every parameter that was sent: https://openrouter.ai/docs/features/provider-routing (2026-11)
_NO_HOST = Wording(r"no endpoints? (?:found|available) that can handle the requested parameters")


def _for_parameter(
    reason: ErrorResponse, message: str, payload: dict[str, Any], sent: Paths
) -> tuple[Repair, ...]:
    if _NO_HOST.found_in(message):
        dropped = [name for name in sent if name in _OPTIONAL and name != "stream_options"]
        return tuple(Repair(name, sent[name]) for name in dropped)
    named = _named(reason)
    refuses = _REFUSES.found_in(message) is not None
    faulty = [
        name
        for name, path in sent.items()
        if named in (name, path[-1]) or (refuses and _MENTIONS[name].found_in(message))
    ]
    if len(faulty) > 1 and _BOTH.found_in(message):
        faulty = faulty[1:]
    for name in faulty:
        if repair := _repair_of(name, sent[name], message, payload):
            return repair
    return ()


def _repair_of(name: str, path: Path, message: str, payload: dict[str, Any]) -> tuple[Repair, ...]:
    value = _value(payload, path)
    if name == "max_tokens":
        if path[-1] in _ANSWER_LIMITS and _UNKNOWN_NAME.found_in(message):
            other = next(limit for limit in _ANSWER_LIMITS if limit != path[-1])
            return (Repair(name, path, to=other),)
        window, room = room_for_answer(message)
        if window is not None:
            return _cap(path, payload, room)
        most = _highest_allowed(message, value)
        return _cap(path, payload, most, lasting=True, at_least=_SMALLEST_MAXIMUM)
    if name == "reasoning_effort":
        listed = {level.lower() for level in _LEVELS.findall(message)}
        allowed = tuple(level for level in SCALE if level in listed and level != value)
        return (Repair(name, path, allowed=allowed) if allowed else Repair(name, path, refused=value),)
    if name == "temperature" and not _UNKNOWN_NAME.found_in(message):
        most = max((number for number in numbers(message) if 0 < number < value), default=None)
        return (Repair(name, path, most=most),)
    return (Repair(name, path),)


def _named(reason: ErrorResponse) -> str:
    """Return the field that the error names, in OpenAI's `param` or FastAPI's `loc`; "" without one."""
    found = reason.error.get("param")
    if not found:
        location = as_list(reason.error.get("loc"))
        found = location[-1] if location else ""
    return found.rpartition(".")[2] if isinstance(found, str) else ""


def _sent(payload: dict[str, Any], paths: Paths) -> dict[str, Path]:
    """Return the parameters in `payload` with their paths, a renamed limit with its present one."""
    sent = {name: path for name, path in paths.items() if _value(payload, path) is not None}
    renamed = [(name,) for name in _ANSWER_LIMITS if name in payload]
    if renamed and "max_tokens" in paths:
        sent.setdefault("max_tokens", renamed[0])
    return sent


def _parent(payload: dict[str, Any], path: Path) -> dict[str, Any] | None:
    parent: Any = payload
    for key in path[:-1]:
        parent = as_dict(parent).get(key)
    return parent if isinstance(parent, dict) else None


def _value(payload: dict[str, Any], path: Path) -> Any:
    return as_dict(_parent(payload, path)).get(path[-1])
