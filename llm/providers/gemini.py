"""https://ai.google.dev/api/generate-content (2026-11)"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from llm import canonical, errors
from llm.providers import retry_after
from llm.providers.base import Limits, ListedModel, Provider
from llm.providers.error_responses import ErrorResponse
from llm.providers.json_values import MAX_NAME_LENGTH, as_count, as_dict, as_list
from llm.providers.reader import InBandError, Reader
from llm.providers.stream import Document
from llm.providers.text import sanitized

#: What Google accepts in place of a signature, for calls that another model made:
#: https://ai.google.dev/gemini-api/docs/thought-signatures (2026-05)
_NO_SIGNATURE = "skip_thought_signature_validator"

#: Gemini requires that the user speaks first and last (observed 2026-11); these texts fill the gaps.
_OPENING, _CONTINUE = "Hello.", "Continue."

_MAX_PAGES = 20


class GeminiReader(Reader):
    """Reads responses, and records where each thought signature belongs.

    `opaque` is a list of `{"from", "at": offsets in the text before and after the part, "call"?: id,
    "thoughtSignature"?}` in the order of the parts.
    """

    def __init__(self, request: canonical.Request, target: canonical.Target) -> None:
        super().__init__(request, target)
        self._tool_names = {_wire_name(tool.name): tool.name for tool in request.tools}

    def feed(self, document: Document) -> None:
        value = document.value
        if not isinstance(value, dict):
            raise errors.BadReply(
                f"{self.builder.target} sent an answer that cannot be read.", detail=repr(value)[:200]
            )
        self._read_head(value)
        if document.name == "error" or value.get("error"):
            raise InBandError(value)
        blocked = as_dict(value.get("promptFeedback")).get("blockReason")
        if blocked:
            self.builder.finish, self.builder.raw_finish = "blocked", sanitized(str(blocked))
        for candidate in as_list(value.get("candidates"))[:1]:
            self._read_candidate(as_dict(candidate))

    def _read_head(self, value: Mapping[str, Any]) -> None:
        builder = self.builder
        if isinstance(value.get("responseId"), str):
            builder.response_id = sanitized(value["responseId"])[:MAX_NAME_LENGTH]
        if isinstance(value.get("modelVersion"), str):
            builder.model_used = sanitized(value["modelVersion"])[:MAX_NAME_LENGTH]
        # Every chunk of a stream repeats the usage, cumulative: the last one counts (observed 2026-11).
        usage = as_dict(value.get("usageMetadata"))
        builder.update_usage(
            input=_sum(usage, "promptTokenCount", "toolUsePromptTokenCount"),
            output=_sum(usage, "candidatesTokenCount", "thoughtsTokenCount"),
            cached=as_count(usage.get("cachedContentTokenCount")),
            reasoning=as_count(usage.get("thoughtsTokenCount")),
        )

    def _read_candidate(self, candidate: Mapping[str, Any]) -> None:
        # `content` may be empty, as with MAX_TOKENS spent on thinking (observed 2026-11).
        for part in as_list(as_dict(candidate.get("content")).get("parts")):
            self._read_part(as_dict(part))
        reason = candidate.get("finishReason")
        if reason:
            self.block_detail = sanitized(str(candidate.get("finishMessage") or ""))
            self.end(reason)

    def _read_part(self, part: Mapping[str, Any]) -> None:
        builder = self.builder
        if part.get("thought") is True:
            builder.add_reasoning(part.get("text"))
            return
        begin = builder.text_position
        builder.add_text(part.get("text"))
        if image := as_dict(part.get("inlineData")):
            builder.add_image(f"data:{image.get('mimeType')};base64,{image.get('data')}")
        mark: dict[str, Any] = {"from": begin, "at": builder.text_position}
        if call := as_dict(part.get("functionCall")):
            arguments = call.get("args")
            text = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
            index = len(builder.calls)  # Calls come whole, without an index (observed 2026-11).
            name = call.get("name")
            name = self._tool_names.get(name, name) if isinstance(name, str) else name
            mark["call"] = builder.add_tool_call(index, call.get("id"), name, text)
        if isinstance(part.get("thoughtSignature"), str):
            mark["thoughtSignature"] = part["thoughtSignature"]
        if len(mark) > 2:
            builder.opaque = [*(builder.opaque or []), mark]


class Gemini(Provider):
    name = "gemini"
    label = "Gemini"
    accepts = frozenset({"image", "audio", "file"})
    parameters = {
        "max_tokens": ("generationConfig", "maxOutputTokens"),
        "temperature": ("generationConfig", "temperature"),
        "top_p": ("generationConfig", "topP"),
        "top_k": ("generationConfig", "topK"),
        "seed": ("generationConfig", "seed"),
        "frequency_penalty": ("generationConfig", "frequencyPenalty"),
        "presence_penalty": ("generationConfig", "presencePenalty"),
        "reasoning_effort": ("generationConfig", "thinkingConfig", "thinkingLevel"),
    }

    def authorization(self) -> dict[str, str]:
        return {"x-goog-api-key": self.api_key}  # As `?key=` it would be in logs and exceptions.

    def chat_url(self, model: str, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{self.base_url}/models/{quote(model.removeprefix('models/'), safe='')}:{method}"

    def ignored(self, model: str) -> frozenset[str]:
        """Gemini 4 refuses penalties: https://ai.google.dev/gemini-api/docs/models (2026-11)."""
        penalties = {"frequency_penalty", "presence_penalty"} if "gemini-4" in model else set()
        without_word = {"name", "detail", "verbosity", "parallel_tool_calls", "min_p", "repetition_penalty"}
        return frozenset({*without_word, *penalties})

    def reader(self, request: canonical.Request, target: canonical.Target) -> Reader:
        return GeminiReader(request, target)

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        system, messages = request.system, request.messages
        if not messages:  # Gemini answers a message of the user only (observed 2026-11).
            system, messages = "", (canonical.Message("user", system),)
        optional = {
            "systemInstruction": {"parts": [{"text": system}]} if system else None,
            "generationConfig": _generation_config(request, self.ignored(model)) or None,
            "tools": [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
            if request.tools
            else None,
            "toolConfig": _tool_config(request.tool_choice),
        }
        return {
            "contents": _contents(messages),
            **{name: value for name, value in optional.items() if value is not None},
        }

    def retry_delay(self, response: ErrorResponse) -> tuple[float | None, bool]:
        """Return the delay from the details: Gemini sends no Retry-After.

        https://github.com/diegosouzapw/OmniRoute/issues/9504 (2026-08) shows them; "limit: 0", of a model
        that the plan does not include, was observed 2026-11.
        """
        seconds, do_not_wait = super().retry_delay(response)
        for detail in _details(response):
            if isinstance(detail.get("retryDelay"), str):
                seconds = retry_after.seconds_of(detail["retryDelay"])
            quotas = (as_dict(violation).get("quotaId") for violation in as_list(detail.get("violations")))
            do_not_wait |= any("PerDay" in str(quota) for quota in quotas)
        return seconds, do_not_wait or bool(re.search(r"\blimit: 0\b", response.message))

    def without_rejected_fields(
        self, payload: dict[str, Any], error: errors.ProviderError
    ) -> dict[str, Any] | None:
        """Return the payload without signatures if they were rejected.

        "Corrupted thought signature.": https://github.com/google-gemini/gemini-cli/issues/13467 (2025-11)
        """
        if "thought signature" not in error.detail.lower().replace("_", " "):
            return None
        payload = copy.deepcopy(payload)
        signed = [
            part for turn in payload["contents"] for part in turn["parts"] if "thoughtSignature" in part
        ]
        for part in signed:
            del part["thoughtSignature"]
        return payload if signed else None

    def models(self, limits: Limits) -> list[ListedModel]:
        listed: list[dict[str, Any]] = []
        page = ""
        for _ in range(_MAX_PAGES):
            response = as_dict(self.get(f"/models?pageSize=1000{page}", limits))
            listed += [as_dict(entry) for entry in as_list(response.get("models"))]
            token = response.get("nextPageToken")
            if not token or not isinstance(token, str):
                break
            page = f"&pageToken={quote(token, safe='')}"
        return [
            ListedModel(entry["name"].removeprefix("models/"), as_count(entry.get("inputTokenLimit")))
            for entry in listed
            if isinstance(entry.get("name"), str)
            and "generateContent" in as_list(entry.get("supportedGenerationMethods") or ["generateContent"])
        ]


def _details(response: ErrorResponse) -> Iterator[Mapping[str, Any]]:
    return map(as_dict, as_list(response.error.get("details")))


def _sum(usage: Mapping[str, Any], *names: str) -> int | None:
    """Return the sum of the counts that are there; None if there are none, or one cannot be read."""
    counts = [as_count(usage[name]) for name in names if usage.get(name) is not None]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _generation_config(request: canonical.Request, ignored: Collection[str]) -> dict[str, Any]:
    effort = request.reasoning_effort
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "frequencyPenalty": None if "frequency_penalty" in ignored else request.frequency_penalty,
        "presencePenalty": None if "presence_penalty" in ignored else request.presence_penalty,
        "responseMimeType": "application/json" if request.json_mode or request.json_schema else None,
        "responseJsonSchema": (request.json_schema or {}).get("schema"),
        "thinkingConfig": {"thinkingLevel": "minimal" if effort == "none" else effort} if effort else None,
    }
    return {name: value for name, value in config.items() if value is not None}


def _declaration(tool: canonical.Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": _wire_name(tool.name), "description": tool.description}
    if (tool.parameters or {}).get("properties"):
        # `parameters` accepts only a subset of OpenAPI; neither may be empty (observed 2026-11).
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _wire_name(name: str) -> str:
    """Return the name of a tool as Gemini accepts it: beginning with a letter or an underscore (2026-11).

    https://ai.google.dev/api/caching#FunctionDeclaration
    """
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def _tool_config(choice: str | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if choice in modes:
        return {"functionCallingConfig": {"mode": modes[choice]}}
    return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [_wire_name(choice)]}}


def _contents(messages: tuple[canonical.Message, ...]) -> list[dict[str, Any]]:
    """Return the turns by Gemini's rules: user first and last, no two in a row of one role, none empty."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        parts = list(_parts(message, names))
        if parts and turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    if not turns or turns[0]["role"] == "model":
        turns.insert(0, {"role": "user", "parts": [{"text": _OPENING}]})
    if turns[-1]["role"] == "model":
        turns.append({"role": "user", "parts": [{"text": _CONTINUE}]})
    return turns


def _parts(message: canonical.Message, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if message.role == "assistant":
        yield from _model_parts(message)
    elif message.role == "tool":
        call_id = message.tool_call_id or ""
        name = _wire_name(names.get(call_id) or call_id or "tool")
        response = {"id": call_id, "name": name, "response": {"output": message.text}}
        yield {"functionResponse": response}
    else:
        for part in message.parts or (message.text,):
            if part:
                yield {"text": part} if isinstance(part, str) else _media(part)


def _model_parts(message: canonical.Message) -> Iterator[dict[str, Any]]:
    """Yield the parts as Gemini sent them: those with a signature apart from those without, as it requires.

    https://ai.google.dev/gemini-api/docs/thought-signatures (2026-11). Calls of other models have no
    signature; the first of them gets Google's placeholder.
    Signatures of a text or call that is no longer there are left out.
    """
    marks = [mark for mark in as_list((message.opaque or {}).get(Gemini.name)) if _is_mark(mark)]
    calls = {call.id: call for call in message.tool_calls}
    cursor, signed = 0, any("thoughtSignature" in mark for mark in marks)
    for mark in marks:
        signature = {key: mark[key] for key in ("thoughtSignature",) if key in mark}
        at = min(mark["at"], len(message.text))
        call = calls.pop(mark.get("call"), None)
        if call is None and "call" in mark:
            continue
        begin = at if call else max(cursor, min(mark.get("from", cursor), at))
        if begin > cursor:
            yield {"text": message.text[cursor:begin]}
            cursor = begin
        if call:
            yield {"functionCall": _function_call(call), **signature}
        else:
            yield {"text": message.text[cursor:at], **signature}
        cursor = max(cursor, at)
    if cursor < len(message.text):
        yield {"text": message.text[cursor:]}
    for call in calls.values():
        yield {
            "functionCall": _function_call(call),
            **({} if signed else {"thoughtSignature": _NO_SIGNATURE}),
        }
        signed = True


def _is_mark(mark: Any) -> bool:
    """Whether `mark` has the form that `GeminiReader` writes: clients may have changed it since."""
    mark = as_dict(mark)
    offsets = [mark.get("at"), mark.get("from", 0)]
    texts = [mark.get(key, "") for key in ("call", "thoughtSignature")]
    return all(type(offset) is int and offset >= 0 for offset in offsets) and all(
        isinstance(text, str) for text in texts
    )


def _function_call(call: canonical.ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = {}
    return {
        "id": call.id,
        "name": _wire_name(call.name),
        "args": arguments if isinstance(arguments, dict) else {},
    }


def _media(media: canonical.Media) -> dict[str, Any]:
    """Return the part of an image, a recording or a document, which have one form.

    https://ai.google.dev/gemini-api/docs/document-processing and …/docs/audio (2026-11)
    """
    if content := media.content():
        return {"inlineData": {"mimeType": content[0], "data": content[1]}}
    return {"fileData": {"fileUri": media.url}}
