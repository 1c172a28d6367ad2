"""An OpenAI chat request -> the canonical one.

What can't be honoured is refused with a sentence, never dropped: see
`docs/openai.md` for the few parameters that are ignored because they concern
nobody but OpenAI.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.api.serializers import StrictSerializer
from llm.canonical import Message, Request, Tool, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool")

#: Parameters whose only honest value is the one that changes nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1, None),
    "frequency_penalty": (0, None),
    "presence_penalty": (0, None),
    "logit_bias": ({}, None),
    "logprobs": (False, None),
    "top_logprobs": (0, None),
    "modalities": (["text"], None),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    "functions": (None, []),
    "function_call": (None,),
}

#: OpenAI's own bookkeeping: means nothing here and changes no answer.
IGNORED = (
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
)


class StopField(serializers.ListField):
    """A string or up to four of them."""

    child = serializers.CharField(max_length=200, trim_whitespace=False)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=4, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        return super().to_internal_value([data] if isinstance(data, str) else data)


class CompletionRequestSerializer(StrictSerializer):
    """The parameters of `POST /v1/chat/completions`; `fallbacks` is an addition of ours."""

    model = serializers.CharField(max_length=240)
    messages = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=2000)
    fallbacks = serializers.ListField(
        child=serializers.CharField(max_length=240), max_length=8, required=False
    )
    stream = serializers.BooleanField(default=False, allow_null=True)
    stream_options = serializers.DictField(required=False, allow_null=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    max_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    max_completion_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    stop = StopField(required=False, allow_null=True)
    seed = serializers.IntegerField(required=False, allow_null=True)
    tools = serializers.ListField(
        child=serializers.DictField(), max_length=128, required=False, allow_null=True
    )
    tool_choice = serializers.JSONField(required=False, allow_null=True)
    parallel_tool_calls = serializers.BooleanField(required=False, allow_null=True, default=None)
    response_format = serializers.DictField(required=False, allow_null=True)
    reasoning_effort = serializers.CharField(max_length=20, required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            for name, neutral in _NEUTRAL.items():
                if name in data and data[name] not in neutral:
                    raise serializers.ValidationError(
                        {name: [f"This server can't honour {name}. Leave it out."]}, "unsupported_parameter"
                    )
            data = {name: value for name, value in data.items() if name not in (*_NEUTRAL, *IGNORED)}
        return super().to_internal_value(data)


def canonical_request(body: dict[str, Any], *, longest_answer: int | None) -> Request:
    """Return the canonical request of a validated body. Raises ValidationError naming the place.

    `longest_answer` is the plan's limit in tokens, None for none.
    """
    system, messages = _conversation(body["messages"])
    wished = body.get("max_completion_tokens") or body.get("max_tokens")
    json_mode, json_schema = _response_format(body.get("response_format"))
    tools = tuple(_tool(tool, f"tools.{index}") for index, tool in enumerate(body.get("tools") or []))
    return Request(
        messages=messages,
        system=system,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        max_tokens=min((n for n in (wished, longest_answer) if n is not None), default=None),
        stop=tuple(body.get("stop") or ()),
        seed=body.get("seed"),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        parallel_tool_calls=body.get("parallel_tool_calls") if tools else None,
        json_mode=json_mode,
        json_schema=json_schema,
        reasoning_effort=body.get("reasoning_effort"),
    )


def _conversation(raw: list[dict[str, Any]]) -> tuple[str, tuple[Message, ...]]:
    """Return the system prompt (all system messages joined) and the other messages in order."""
    system: list[str] = []
    messages: list[Message] = []
    for index, message in enumerate(raw):
        place = f"messages.{index}"
        role = message.get("role")
        if role not in ROLES:
            raise _invalid(f"{place}.role", f"One of {', '.join(ROLES)} is expected.")
        text, images = _content(message.get("content"), f"{place}.content")
        if role in ("system", "developer"):
            system.append(text)
        elif role == "assistant":
            calls = _tool_calls(message.get("tool_calls"), f"{place}.tool_calls")
            messages.append(Message("assistant", text, tool_calls=calls, opaque=_opaque(message, place)))
        elif role == "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str) or not call_id:
                raise _invalid(
                    f"{place}.tool_call_id", "The id of the tool call that this answers is missing."
                )
            messages.append(Message("tool", text, tool_call_id=call_id))
        else:
            messages.append(Message("user", text, images=images))
    if not messages:
        raise _invalid("messages", "At least one message beside the system prompt is needed.")
    return "\n\n".join(filter(None, system)), tuple(messages)


def _content(content: Any, place: str) -> tuple[str, tuple[str, ...]]:
    """Return the text and the image URLs of a message's content: a string, null, or a list of parts."""
    if content is None:
        return "", ()
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list):
        raise _invalid(place, "A string or a list of parts is expected.")
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            url = part["image_url"].get("url")
            if not isinstance(url, str) or not url.startswith(("https://", "data:image/")):
                raise _invalid(f"{place}.{index}.image_url.url", "An https or data:image URL is expected.")
            images.append(url)
        else:
            raise _invalid(f"{place}.{index}", "Only parts of type text and image_url are understood.")
    return "\n".join(texts), tuple(images)


def _tool_calls(raw: Any, place: str) -> tuple[ToolCall, ...]:
    calls = []
    for index, call in enumerate(raw or [] if isinstance(raw, list | None) else [raw]):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not all(
            isinstance(value, str)
            for value in (call.get("id"), function.get("name"), function.get("arguments"))
        ):
            raise _invalid(f"{place}.{index}", "id, function.name and function.arguments are expected.")
        calls.append(ToolCall(call["id"], function["name"], function["arguments"]))
    return tuple(calls)


def _opaque(message: dict[str, Any], place: str) -> dict[str, Any] | None:
    """What a provider wants to see again unchanged, as our reply handed it out."""
    details = message.get("provider_details")
    if details is not None and not isinstance(details, dict):
        raise _invalid(f"{place}.provider_details", "The object of our reply is expected, unchanged.")
    return details


def _tool(tool: dict[str, Any], place: str) -> Tool:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise _invalid(place, "Only tools of type function are understood.")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not name:
        raise _invalid(f"{place}.function.name", "The function's name is missing.")
    if parameters is not None and not isinstance(parameters, dict):
        raise _invalid(f"{place}.function.parameters", "A JSON Schema object is expected.")
    return Tool(name, function.get("description") or "", parameters, function.get("strict"))


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> str | None:
    if choice is None or choice in ("auto", "none", "required"):
        return choice if tools else None
    name = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if name not in {tool.name for tool in tools}:
        raise _invalid("tool_choice", "auto, none, required or one of the tools is expected.")
    return name


def _response_format(wanted: dict[str, Any] | None) -> tuple[bool, dict[str, Any] | None]:
    kind = (wanted or {}).get("type", "text")
    if kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    schema = wanted.get("json_schema") if kind == "json_schema" else None
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict) or not schema.get("name"):
        raise _invalid(
            "response_format", "text, json_object, or json_schema with name and schema is expected."
        )
    return False, {key: schema[key] for key in ("name", "schema", "strict") if key in schema}


def _invalid(place: str, sentence: str) -> serializers.ValidationError:
    return serializers.ValidationError({place: [sentence]})
