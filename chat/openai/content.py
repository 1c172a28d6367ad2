"""The content of a message: a string, or a list of parts of text, image, sound and document.

https://platform.openai.com/docs/api-reference/chat/create (2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from chat.openai.fields import invalid
from llm.canonical import Media

_AUDIO_FORMAT = re.compile(r"[a-z0-9]{2,10}")

#: The parts of a user's message, and what is expected instead of any other.
_USER_PARTS = "A part of type text, image_url, input_audio or file is expected."
_TEXT_PARTS = "Text is expected: images, sound and documents are understood in messages of the user only."


def user_parts(content: Any, path: str) -> list[str | Media]:
    """Return texts and media in their order. Raises ValidationError with the path."""
    if isinstance(content, str):
        return [content]
    parts: list[str | Media] = []
    for index, part in enumerate(_part_list(content, path)):
        place = f"{path}.{index}"
        kind = part.get("type") if isinstance(part, dict) else None
        read = _MEDIA.get(kind) if isinstance(kind, str) else None
        if read is not None:
            parts.append(read(part.get(kind), f"{place}.{kind}"))
        elif (text := _text_of(part)) is not None:
            parts.append(text)
        else:
            raise invalid(place, _USER_PARTS)
    return parts


def plain_text(content: Any, path: str) -> str:
    """Return the text of a message that can have text only."""
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(_part_list(content, path)):
        text = _text_of(part)
        if text is None:
            raise invalid(f"{path}.{index}", _TEXT_PARTS)
        texts.append(text)
    return "\n".join(texts)


def echoed_text(content: Any, path: str) -> tuple[str, str]:
    """Return text and reasoning of an answer that a client sends back.

    Clients keep what the model sent in forms of their own: reasoning, signatures and calls are among the
    parts of the content, the calls a second time. What has no text for the conversation is dropped.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise invalid(path, "A string or a list of parts is expected.")
    texts, thoughts = [], []
    for part in content:
        if (text := _text_of(part)) is not None:
            texts.append(text)
        elif isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            thoughts.append(_reasoning_of(part))
    return "\n".join(texts), "\n".join(filter(None, thoughts))


def _part_list(content: Any, path: str) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise invalid(path, "A string or a list of parts is expected.")
    return content


def _text_of(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(kind) if kind in ("text", "refusal") else None
    return text if isinstance(text, str) else None


def _reasoning_of(part: dict[str, Any]) -> str:
    """Return the text of a part of reasoning, which Mistral nests once more."""
    found = part.get("text") or part.get("thinking") or part.get("reasoning")
    if isinstance(found, list):
        found = "".join(text for text in map(_text_of, found) if text)
    return found if isinstance(found, str) else ""


def _image(image: Any, path: str) -> Media:
    image = {"url": image} if isinstance(image, str) else image
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "data:image/")):
        raise invalid(f"{path}.url", "An https or data:image URL is expected.")
    detail = image.get("detail")
    return Media("image", url, detail=detail if isinstance(detail, str) else None)


def _audio(audio: Any, path: str) -> Media:
    data, form = (audio.get("data"), audio.get("format")) if isinstance(audio, dict) else (None, None)
    if not isinstance(data, str) or not data or data.startswith(("http:", "https:", "data:")):
        raise invalid(f"{path}.data", "The sound itself is expected, as base64.")
    if not isinstance(form, str) or not _AUDIO_FORMAT.fullmatch(form):
        raise invalid(f"{path}.format", "A format such as wav or mp3 is expected.")
    return Media("audio", f"data:audio/{form};base64,{data}")


def _file(file: Any, path: str) -> Media:
    file = file if isinstance(file, dict) else {}
    if file.get("file_id") is not None:
        raise invalid(f"{path}.file_id", "No files are stored here. Send the document itself as file_data.")
    data, name = file.get("file_data"), file.get("filename")
    if not isinstance(data, str) or not data.startswith(("https://", "data:")):
        raise invalid(f"{path}.file_data", "An https or data: URL is expected.")
    return Media("file", data, filename=name if isinstance(name, str) else None)


_MEDIA: dict[str, Callable[[Any, str], Media]] = {"image_url": _image, "input_audio": _audio, "file": _file}
