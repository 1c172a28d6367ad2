"""From the messages of an OpenAI request to the canonical conversation.

https://platform.openai.com/docs/api-reference/chat/create

Messages are written by hand, sent back as our replies gave them, or kept by clients in forms of their own.
What carries the conversation is checked; all else that clients add to a message is dropped, as no answer
depends on it.
"""

from __future__ import annotations

import json
from typing import Any

from chat.openai.content import echoed_text, plain_text, user_parts
from chat.openai.fields import invalid
from llm.canonical import Media, Message, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool")

#: Where other APIs have what the model is to see beside the text: dropping it would make the answer wrong.
_CONTENT_ELSEWHERE = ("images", "audio", "files", "documents", "attachments", "experimental_attachments")

_MISSING: dict[str, Any] = {}

#: Reasoning in the words of DeepSeek, of OpenRouter and this server.
_REASONING = ("reasoning_content", "reasoning")


def conversation(raw: list[dict[str, Any]], max_chars: int | None) -> tuple[str, tuple[Message, ...]]:
    """Return the system prompt (all system messages joined) and the other messages in order.

    `max_chars` limits each message of the user; None is unlimited. Raises ValidationError with the path.
    """
    system: list[str] = []
    messages: list[Message] = []
    open_calls: set[str] = set()
    for index, message in enumerate(raw):
        path = f"messages.{index}"
        role = _role(message, path)
        if role == "assistant":
            said = _assistant(message, path)
            messages += said
            open_calls |= {call.id for answer in said for call in answer.tool_calls}
        elif role == "tool":
            messages.append(_tool_result(message, path, open_calls))
        elif role == "user":
            messages.append(_user(message, path, max_chars))
        else:
            system.append(plain_text(message.get("content"), f"{path}.content"))
    prompt = "\n\n".join(filter(None, system))
    if not prompt and not messages:
        raise invalid("messages", "At least one message with a text is needed.")
    return prompt, tuple(messages)


def _role(message: dict[str, Any], path: str) -> str:
    """Return the role of a message that has its content where it is read."""
    role = message.get("role")
    if role == "function":
        raise invalid(f"{path}.role", "Results of functions are sent with the role tool.")
    if not isinstance(role, str) or role not in ROLES:
        raise invalid(f"{path}.role", f"One of {', '.join(ROLES)} is expected.")
    for name in _CONTENT_ELSEWHERE:
        if role != "assistant" and message.get(name):
            advice = "Send it as a part of the content: image_url, input_audio or file."
            raise invalid(f"{path}.{name}", advice, "unsupported_parameter")
    return role


def _user(message: dict[str, Any], path: str, max_chars: int | None) -> Message:
    parts = user_parts(message.get("content"), f"{path}.content")
    text = "\n".join(part for part in parts if isinstance(part, str))
    if max_chars is not None and len(text) > max_chars:
        raise invalid(f"{path}.content", f"This plan takes at most {max_chars} characters.")
    has_media = any(isinstance(part, Media) for part in parts)
    return Message("user", text, parts=tuple(parts) if has_media else (), name=_name(message))


def _assistant(message: dict[str, Any], path: str) -> list[Message]:
    """Return the message; none if it says nothing, as clients send back an answer that was empty."""
    if message.get("function_call") is not None:
        raise invalid(
            f"{path}.function_call", "Function calls are sent as tool_calls.", "unsupported_parameter"
        )
    calls = _tool_calls(message.get("tool_calls"), f"{path}.tool_calls")
    if not calls and not {"content", "refusal", "tool_calls"} & message.keys():
        raise invalid(f"{path}.content", "Content or tool_calls are expected.")
    text, reasoning = echoed_text(message.get("content"), f"{path}.content")
    refusal = message.get("refusal")
    text = text or (refusal if isinstance(refusal, str) else "")
    if message.get("audio") and not text and not calls:
        raise invalid(f"{path}.audio", "Only text can be sent.", "unsupported_parameter")
    opaque = _opaque(message, path)
    if not text and not calls and not opaque:
        return []
    own_field = next((message[name] for name in _REASONING if isinstance(message.get(name), str)), "")
    return [
        Message(
            "assistant",
            text,
            name=_name(message),
            reasoning=own_field or reasoning,
            tool_calls=calls,
            opaque=opaque,
        )
    ]


def _opaque(message: dict[str, Any], path: str) -> dict[str, Any] | None:
    details = message.get("provider_details")
    if details is not None and not isinstance(details, dict):
        raise invalid(f"{path}.provider_details", "The object of our reply is expected, unchanged.")
    # OpenRouter's own form, of clients made for it.
    reasoning = message.get("reasoning_details")
    if details is None and isinstance(reasoning, list) and all(isinstance(item, dict) for item in reasoning):
        return {"openrouter": reasoning} if reasoning else None
    return details


def _tool_result(message: dict[str, Any], path: str, open_calls: set[str]) -> Message:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in open_calls:
        raise invalid(f"{path}.tool_call_id", "The id of a tool call of an earlier message is expected.")
    content = message.get("content", _MISSING)
    # A function that returns nothing: clients send null, or no parts.
    text = "" if content in (None, []) else plain_text(content, f"{path}.content")
    return Message("tool", text, tool_call_id=call_id)


def _name(message: dict[str, Any]) -> str | None:
    name = message.get("name")
    return name if isinstance(name, str) and name else None


def _tool_calls(raw: Any, path: str) -> tuple[ToolCall, ...]:
    if not isinstance(raw, list | None):
        raise invalid(path, "A list is expected.")
    calls = []
    for index, call in enumerate(raw or ()):
        function = call.get("function") if isinstance(call, dict) else None
        found = function if isinstance(function, dict) else {}
        arguments = found.get("arguments")
        if isinstance(arguments, dict | None):  # as Ollama's clients keep them, and calls without arguments
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
        texts = (call.get("id") if found else None, found.get("name"), arguments)
        if not all(isinstance(text, str) for text in texts):
            raise invalid(f"{path}.{index}", "id, function.name and function.arguments are expected.")
        calls.append(ToolCall(call["id"], found["name"], arguments or "{}"))
    return tuple(calls)
