"""https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from llm import canonical, errors
from llm.providers import retry_after
from llm.providers.answer import Reader, Refused, count, updated
from llm.providers.base import Limits, ListedModel, Provider, items, mapping
from llm.providers.documents import Document
from llm.providers.refusals import Refusal
from llm.providers.text import harmless

#: What Google accepts in place of a signature for calls that another model made.
_NO_SIGNATURE = "skip_thought_signature_validator"

#: Gemini wants the user to speak first and last; these words fill the gaps.
_OPENING, _CONTINUE = "Hello.", "Continue."

_FINISH: dict[str, canonical.Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "blocked",
    "RECITATION": "blocked",
    "BLOCKLIST": "blocked",
    "PROHIBITED_CONTENT": "blocked",
    "SPII": "blocked",
    "LANGUAGE": "blocked",
}

_MAX_PAGES = 20


class GeminiReader(Reader):
    """Reads answers, and remembers where which thought signature stood.

    `opaque` is a list of `{"at": offset in the text, "call"?: id, "thoughtSignature"?}`
    in the order of the parts.
    """

    def feed(self, document: Document) -> None:
        value = document.value
        if not isinstance(value, dict):
            raise errors.BadReply(
                f"{self.answer.target} sent an answer that cannot be read.", detail=repr(value)[:200]
            )
        self._read_head(value)
        if document.name == "error" or value.get("error"):
            raise Refused(value)
        blocked = mapping(value.get("promptFeedback")).get("blockReason")
        if blocked:
            self._finish("blocked", blocked)
        for candidate in items(value.get("candidates"))[:1]:
            self._read_candidate(mapping(candidate))

    def _read_head(self, value: Mapping[str, Any]) -> None:
        answer = self.answer
        if isinstance(value.get("responseId"), str):
            answer.response_id = harmless(value["responseId"])
        if isinstance(value.get("modelVersion"), str):
            answer.model_used = harmless(value["modelVersion"])
        usage = mapping(value.get("usageMetadata"))
        thoughts = count(usage.get("thoughtsTokenCount"))
        answer.usage = updated(
            answer.usage,
            input=_sum(count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))),
            output=_sum(count(usage.get("candidatesTokenCount")), thoughts),
            cached=count(usage.get("cachedContentTokenCount")),
            reasoning=thoughts,
        )

    def _read_candidate(self, candidate: Mapping[str, Any]) -> None:
        for part in items(mapping(candidate.get("content")).get("parts")):
            self._read_part(mapping(part))
        reason = candidate.get("finishReason")
        if reason and isinstance(reason, str) and reason != "FINISH_REASON_UNSPECIFIED":
            self.why = harmless(str(candidate.get("finishMessage") or ""))
            self._finish(_FINISH.get(reason, "error"), reason)

    def _read_part(self, part: Mapping[str, Any]) -> None:
        answer = self.answer
        call = mapping(part.get("functionCall"))
        if part.get("thought") is True:
            answer.add_reasoning(part.get("text"))
            return
        answer.add_text(part.get("text"))
        mark: dict[str, Any] = {"at": answer.text_length}
        if call:
            arguments = call.get("args")
            written = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
            mark["call"] = answer.add_call(len(answer.calls), call.get("id"), call.get("name"), written).id
        if isinstance(part.get("thoughtSignature"), str):
            mark["thoughtSignature"] = part["thoughtSignature"]
        if len(mark) > 1:
            answer.opaque = [*(answer.opaque or []), mark]

    def _finish(self, finish: canonical.Finish, reason: Any) -> None:
        self.answer.finish, self.answer.raw_finish = finish, harmless(str(reason))


class Gemini(Provider):
    name = "gemini"
    label = "Gemini"

    def authorization(self) -> dict[str, str]:
        return {"x-goog-api-key": self.api_key}  # As `?key=` it would stand in logs and exceptions.

    def chat_url(self, model: str, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{self.base_url}/models/{quote(model.removeprefix('models/'), safe='')}:{method}"

    def reader(self, request: canonical.Request, target: canonical.Target) -> Reader:
        return GeminiReader(request, target)

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        optional = {
            "systemInstruction": {"parts": [{"text": request.system}]} if request.system else None,
            "generationConfig": _generation_config(request) or None,
            "tools": [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
            if request.tools
            else None,
            "toolConfig": _tool_config(request.tool_choice),
        }
        return {
            "contents": _contents(request.messages),
            **{name: value for name, value in optional.items() if value is not None},
        }

    def judge(self, refusal: Refusal) -> type[errors.ProviderError] | None:
        """Return what Google's reasons mean: a bad key is a 400, so are a region and unpaid bills."""
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(refusal)):
            return errors.Unauthorized
        return errors.BillingRefused if "failed_precondition" in refusal.codes else None

    def waiting(self, refusal: Refusal) -> tuple[float | None, bool]:
        seconds, do_not_wait = super().waiting(refusal)
        for detail in _details(refusal):
            if isinstance(detail.get("retryDelay"), str):
                seconds = retry_after.seconds_of(detail["retryDelay"])
            quotas = (mapping(violation).get("quotaId") for violation in items(detail.get("violations")))
            do_not_wait |= any("PerDay" in str(quota) for quota in quotas)
        return seconds, do_not_wait or bool(re.search(r"\blimit: 0\b", refusal.message))

    def repaired(self, payload: dict[str, Any], error: errors.ProviderError) -> dict[str, Any] | None:
        """Return the payload without signatures if they were refused."""
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
        listed, page = [], ""
        for _ in range(_MAX_PAGES):
            query = f"?pageSize=1000{page}"
            answer = mapping(self.get(f"/models{query}", limits))
            listed += [mapping(entry) for entry in items(answer.get("models"))]
            token = answer.get("nextPageToken")
            if not token or not isinstance(token, str):
                break
            page = f"&pageToken={quote(token, safe='')}"
        return [
            ListedModel(entry["name"].removeprefix("models/"), count(entry.get("inputTokenLimit")))
            for entry in listed
            if isinstance(entry.get("name"), str)
            and "generateContent" in items(entry.get("supportedGenerationMethods") or ["generateContent"])
        ]


def _details(refusal: Refusal) -> Iterator[Mapping[str, Any]]:
    return (mapping(detail) for detail in items(refusal.error.get("details")))


def _sum(*figures: int | None) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _generation_config(request: canonical.Request) -> dict[str, Any]:
    effort = request.reasoning_effort
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "responseMimeType": "application/json" if request.json_mode or request.json_schema else None,
        "responseJsonSchema": (request.json_schema or {}).get("schema"),
        "thinkingConfig": {"thinkingLevel": "minimal" if effort == "none" else effort} if effort else None,
    }
    return {name: value for name, value in config.items() if value is not None}


def _declaration(tool: canonical.Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if (tool.parameters or {}).get("properties"):
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _tool_config(choice: str | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if choice in modes:
        return {"functionCallingConfig": {"mode": modes[choice]}}
    return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [choice]}}


def _contents(messages: tuple[canonical.Message, ...]) -> list[dict[str, Any]]:
    """Return the turns by Gemini's rules: user first and last, no two of one role, none empty."""
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
        name = names.get(call_id) or call_id or "tool"
        response = {"id": call_id, "name": name, "response": {"output": message.text}}
        yield {"functionResponse": response}
    else:
        if message.text:
            yield {"text": message.text}
        yield from (_image(url) for url in message.images)


def _model_parts(message: canonical.Message) -> Iterator[dict[str, Any]]:
    """Yield the parts as Gemini wrote them, each signature where it stood.

    Calls of other models carry no signature; the first of them gets Google's word
    for that. Signatures of a text or call that is no longer there are left out.
    """
    marks = [mark for mark in items((message.opaque or {}).get(Gemini.name)) if _is_mark(mark)]
    calls = {call.id: call for call in message.tool_calls}
    cursor, signed = 0, any("thoughtSignature" in mark for mark in marks)
    for mark in marks:
        signature = {key: mark[key] for key in ("thoughtSignature",) if key in mark}
        at = min(mark["at"], len(message.text))
        call = calls.pop(mark.get("call"), None)
        if call is None and "call" in mark:
            continue
        if call is None:
            yield {"text": message.text[cursor:at], **signature}
        else:
            if at > cursor:
                yield {"text": message.text[cursor:at]}
            yield {"functionCall": _function_call(call), **signature}
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
    """Whether `mark` is what `GeminiReader` hands out: it has been in the hands of clients since."""
    mark = mapping(mark)
    at, texts = mark.get("at"), [mark.get(key, "") for key in ("call", "thoughtSignature")]
    return type(at) is int and at >= 0 and all(isinstance(text, str) for text in texts)


def _function_call(call: canonical.ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = {}
    return {"id": call.id, "name": call.name, "args": arguments if isinstance(arguments, dict) else {}}


def _image(url: str) -> dict[str, Any]:
    if match := re.match(r"data:([^;,]+);base64,", url):
        return {"inlineData": {"mimeType": match[1], "data": url[match.end() :]}}
    return {"fileData": {"fileUri": url}}
