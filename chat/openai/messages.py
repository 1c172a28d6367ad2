"""From the messages of an OpenAI request to the canonical conversation.

https://platform.openai.com/docs/api-reference/chat/create

Messages are written by hand, sent back as our replies gave them, or dumped by clients with every field that
OpenAI's own replies have, most of them null.
"""

from __future__ import annotations

from typing import Any

from chat.openai.fields import invalid
from llm.canonical import Message, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool")

_FIELDS = ("role", "content", "tool_calls", "tool_call_id", "provider_details")

#: Accepted and not used: providers take no names, reasoning is not sent back as text, and `parsed` is the
#: content again, as OpenAI's packages have parsed it.
_IGNORED = ("name", "refusal", "annotations", "reasoning", "parsed")

_LEGACY = {
    "function_call": "Function calls are sent as tool_calls.",
    "audio": "Only text can be sent.",
}


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
            messages.append(_assistant(message, path))
            open_calls |= {call.id for call in messages[-1].tool_calls}
        elif role == "tool":
            messages.append(_tool_result(message, path, open_calls))
        elif role == "user":
            text, images = _content(message, path)
            if max_chars is not None and len(text) > max_chars:
                raise invalid(f"{path}.content", f"This plan takes at most {max_chars} characters.")
            messages.append(Message("user", text, images=images))
        else:
            system.append(_text(message, path))
    if not messages:
        raise invalid("messages", "At least one message beside the system prompt is needed.")
    return "\n\n".join(filter(None, system)), tuple(messages)


def _role(message: dict[str, Any], path: str) -> str:
    """Return the role of a message, all of whose fields are known."""
    role = message.get("role")
    if role == "function":
        raise invalid(f"{path}.role", "Results of functions are sent with the role tool.")
    if not isinstance(role, str) or role not in ROLES:
        raise invalid(f"{path}.role", f"One of {', '.join(ROLES)} is expected.")
    for name, value in message.items():
        if name in _LEGACY and value is not None:
            raise invalid(f"{path}.{name}", _LEGACY[name], "unsupported_parameter")
        if name not in (*_FIELDS, *_IGNORED, *_LEGACY):
            raise invalid(f"{path}.{name}", "There is no such field.", "unknown_field")
    return role


def _assistant(message: dict[str, Any], path: str) -> Message:
    calls = _tool_calls(message.get("tool_calls"), f"{path}.tool_calls")
    if message.get("content") is None and not calls:
        raise invalid(f"{path}.content", "Content or tool_calls are expected.")
    text = "" if message.get("content") is None else _text(message, path)
    details = message.get("provider_details")
    if details is not None and not isinstance(details, dict):
        raise invalid(f"{path}.provider_details", "The object of our reply is expected, unchanged.")
    return Message("assistant", text, tool_calls=calls, opaque=details)


def _tool_result(message: dict[str, Any], path: str, open_calls: set[str]) -> Message:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in open_calls:
        raise invalid(f"{path}.tool_call_id", "The id of a tool call of an earlier message is expected.")
    return Message("tool", _text(message, path), tool_call_id=call_id)


def _text(message: dict[str, Any], path: str) -> str:
    text, images = _content(message, path)
    if images:
        raise invalid(f"{path}.content", "Images are understood in messages of the user only.")
    return text


def _content(message: dict[str, Any], path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text and the image URLs of a message's content: a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list) or not content:
        raise invalid(f"{path}.content", "A string or a list of parts is expected.")
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal") and isinstance(part.get(kind), str):
            texts.append(part[kind])
        elif kind == "image_url":
            images.append(_image(part, f"{path}.content.{index}.image_url"))
        else:
            raise invalid(f"{path}.content.{index}", "A part of type text or image_url is expected.")
    return "\n".join(texts), tuple(images)


def _image(part: dict[str, Any], path: str) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "data:image/")):
        raise invalid(f"{path}.url", "An https or data:image URL is expected.")
    return url


def _tool_calls(raw: Any, path: str) -> tuple[ToolCall, ...]:
    if not isinstance(raw, list | None):
        raise invalid(path, "A list is expected.")
    calls = []
    for index, call in enumerate(raw or ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not all(
            isinstance(value, str)
            for value in (call.get("id"), function.get("name"), function.get("arguments"))
        ):
            raise invalid(f"{path}.{index}", "id, function.name and function.arguments are expected.")
        calls.append(ToolCall(call["id"], function["name"], function["arguments"]))
    return tuple(calls)
