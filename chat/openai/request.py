"""From an OpenAI chat request to the canonical one.

https://platform.openai.com/docs/api-reference/chat/create

A parameter is passed on if the target uses it, left out with a note on the receipt if the answer is as good
without it, and refused with a sentence if it would be a wrong one. `docs/openai.md` lists them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from chat.openai.fields import JSONBoolean, JSONInteger, JSONNumber, JSONText, invalid
from chat.openai.messages import conversation
from chat.turns import answer_limit
from core.api.serializers import BoundedListField, StrictSerializer
from llm.canonical import Request, Target, Tool
from llm.providers.json_values import as_dict, as_list
from llm.route import MAX_TARGET_LENGTH
from tenants.models import Plan
from tenants.models.tenant import MAX_TOKENS

#: For OpenAI's own bookkeeping; no answer depends on them.
IGNORED = (
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)

#: Parameters that are not supported -> the values that change nothing, and what to do instead.
UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "functions": (([],), "Send them as tools."),
    "function_call": ((), "Use tools and tool_choice."),
    "n": ((1,), "Send the request once for each answer."),
    "logprobs": ((False,), "Leave it out."),
    "top_logprobs": ((0,), "Leave it out."),
    "modalities": ((["text"],), "Answers are text."),
    "audio": ((), "Answers are text."),
    "moderation": ((), "Leave it out."),
    "web_search_options": ((), "Offer a tool that searches."),
}

#: Parameters without which an answer is as good -> the values that mean nothing, and why they are left out.
LEFT_OUT: dict[str, tuple[tuple[Any, ...], str]] = {
    "store": ((False,), "nothing of a conversation is stored here."),
    "prediction": ((), "it makes an answer faster, not another one."),
}

#: What some provider has a word for. Each gets the nearest of its own.
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "default")

_CHOICES = "auto, none, required or one of the tools is expected."

_TOOL_NAME = r"[A-Za-z0-9_-]{1,64}"


class StopField(BoundedListField):
    """A string or a list of up to four."""

    child = JSONText(max_length=200, trim_whitespace=False)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=4, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        return super().to_internal_value([data] if isinstance(data, str) else data)


class StreamOptionsSerializer(StrictSerializer):
    include_usage = JSONBoolean(default=False, allow_null=True)
    #: Padding against eavesdroppers that measure tokens. Chunks are not padded here; clients skip it anyway.
    include_obfuscation = JSONBoolean(required=False, allow_null=True)


class CacheableSerializer(StrictSerializer):
    """Drops the marks of what a provider may cache, as Anthropic's clients write them."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name != "cache_control"}
        return super().to_internal_value(data)


class FunctionSerializer(CacheableSerializer):
    name = serializers.RegexField(rf"\A{_TOOL_NAME}\Z")
    description = JSONText(default="", allow_blank=True, allow_null=True, trim_whitespace=False)
    parameters = serializers.DictField(default=None, allow_null=True)
    strict = JSONBoolean(default=None, allow_null=True)


class ToolSerializer(CacheableSerializer):
    type = serializers.ChoiceField(["function"])
    function = FunctionSerializer()


class JSONSchemaSerializer(StrictSerializer):
    name = serializers.RegexField(r"\A[A-Za-z0-9_-]{1,64}\Z")
    description = JSONText(required=False, allow_blank=True, allow_null=True)
    schema = serializers.DictField()
    strict = JSONBoolean(required=False, allow_null=True)


class ResponseFormatSerializer(StrictSerializer):
    type = serializers.ChoiceField(["text", "json_object", "json_schema"])
    json_schema = JSONSchemaSerializer(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["type"] == "json_schema") != ("json_schema" in attrs):
            raise invalid("json_schema", "It is needed with type json_schema, and only then.")
        return attrs


class CompletionRequestSerializer(StrictSerializer):
    """The parameters of `POST /v1/chat/completions`.

    `fallbacks` is an extension; `top_k`, `min_p` and `repetition_penalty` are those of OpenRouter and vLLM.
    """

    model = JSONText(max_length=MAX_TARGET_LENGTH)
    messages = BoundedListField(child=serializers.DictField(), min_length=1, max_length=2000)
    fallbacks = BoundedListField(child=JSONText(max_length=MAX_TARGET_LENGTH), max_length=8, default=list)
    stream = JSONBoolean(default=False, allow_null=True)
    stream_options = StreamOptionsSerializer(required=False, allow_null=True)
    temperature = JSONNumber(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = JSONNumber(min_value=0, max_value=1, required=False, allow_null=True)
    max_tokens = JSONInteger(min_value=1, max_value=MAX_TOKENS, required=False, allow_null=True)
    max_completion_tokens = JSONInteger(min_value=1, max_value=MAX_TOKENS, required=False, allow_null=True)
    stop = StopField(required=False, allow_null=True)
    seed = JSONInteger(required=False, allow_null=True)
    tools = BoundedListField(child=ToolSerializer(), max_length=128, required=False, allow_null=True)
    tool_choice = serializers.JSONField(required=False, allow_null=True)
    parallel_tool_calls = JSONBoolean(required=False, allow_null=True)
    response_format = ResponseFormatSerializer(required=False, allow_null=True)
    reasoning_effort = serializers.ChoiceField(_EFFORTS, required=False, allow_null=True)
    frequency_penalty = JSONNumber(min_value=-2, max_value=2, required=False, allow_null=True)
    presence_penalty = JSONNumber(min_value=-2, max_value=2, required=False, allow_null=True)
    repetition_penalty = JSONNumber(min_value=0, max_value=2, required=False, allow_null=True)
    top_k = JSONInteger(min_value=0, required=False, allow_null=True)
    min_p = JSONNumber(min_value=0, max_value=1, required=False, allow_null=True)
    logit_bias = serializers.DictField(
        child=JSONNumber(min_value=-100, max_value=100), required=False, allow_null=True
    )
    verbosity = serializers.ChoiceField(["low", "medium", "high"], required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        notes: list[str] = []
        if isinstance(data, dict):
            for name, (neutral, advice) in UNSUPPORTED.items():
                if data.get(name) is not None and data[name] not in neutral:
                    raise invalid(name, f"This can't be honoured here. {advice}", "unsupported_parameter")
            dropped = (*UNSUPPORTED, *IGNORED, *LEFT_OUT)
            notes = _notes(data)
            data = {name: value for name, value in data.items() if name not in dropped}
        validated: dict[str, Any] = super().to_internal_value(data)
        validated["notes"] = notes
        return validated

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("stream_options") and not attrs["stream"]:
            raise invalid("stream_options", "This is for streams only: set stream to true.")
        return attrs


def canonical_request(body: dict[str, Any], plan: Plan, route: Sequence[Target]) -> Request:
    """Return the canonical request of a validated body, within the plan's limits.

    Raises ValidationError with the path of a message that is not valid.
    """
    system, messages = conversation(body["messages"], plan.max_input_chars)
    requested = body.get("max_completion_tokens") or body.get("max_tokens")
    tools, tool_choice = _tools(body)
    response_format = body.get("response_format") or {}
    return Request(
        messages=messages,
        system=system,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        max_tokens=answer_limit(requested, plan, route),
        stop=tuple(body.get("stop") or ()),
        seed=body.get("seed"),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=body.get("parallel_tool_calls") if tools else None,
        json_mode=response_format.get("type") == "json_object",
        json_schema=_json_schema(response_format.get("json_schema")),
        reasoning_effort=body.get("reasoning_effort"),
        frequency_penalty=body.get("frequency_penalty"),
        presence_penalty=body.get("presence_penalty"),
        repetition_penalty=body.get("repetition_penalty"),
        top_k=body.get("top_k"),
        min_p=body.get("min_p"),
        logit_bias=body.get("logit_bias") or None,
        verbosity=body.get("verbosity"),
        notes=tuple(body["notes"]),
    )


def _notes(data: dict[str, Any]) -> list[str]:
    return [
        f"{name} was left out: {why}"
        for name, (neutral, why) in LEFT_OUT.items()
        if data.get(name) is not None and data[name] not in neutral
    ]


def _tool(function: dict[str, Any]) -> Tool:
    return Tool(function["name"], function["description"] or "", function["parameters"], function["strict"])


def _tools(body: dict[str, Any]) -> tuple[tuple[Tool, ...], str | None]:
    """Return the tools that the model may call, and how it chooses: as `Request.tool_choice`.

    Of `allowed_tools` the others are left out: no provider but OpenAI knows that choice.
    """
    tools = tuple(_tool(tool["function"]) for tool in body.get("tools") or ())
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        if choice not in (None, "auto", "none", "required"):
            raise invalid("tool_choice", _CHOICES)
        return tools, choice if tools else None
    if choice.get("type") == "allowed_tools":
        allowed = as_dict(choice.get("allowed_tools")) or choice
        names = [_name(entry) for entry in as_list(allowed.get("tools"))]
        mode = allowed.get("mode", "auto")
        if mode not in ("auto", "required") or not names or not set(names) <= {tool.name for tool in tools}:
            raise invalid(
                "tool_choice.allowed_tools", "A mode, auto or required, and some of the tools are expected."
            )
        return tuple(tool for tool in tools if tool.name in names), mode
    name = _name(choice)
    if name not in [tool.name for tool in tools]:
        raise invalid("tool_choice", _CHOICES)
    return tools, name


def _name(choice: Any) -> str:
    """Return the name of a function in a choice, also in the form of the Responses API; "" without one."""
    choice = as_dict(choice)
    name = as_dict(choice.get("function")).get("name") or choice.get("name")
    return name if isinstance(name, str) else ""


def _json_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    return schema and {key: value for key, value in schema.items() if value is not None}
