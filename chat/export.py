"""Exports of a conversation: as JSON with all fields, or as Markdown with the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONEncoder

from chat.models import ChatSession, Message
from chat.serializers import message_data, session_data
from tenants.access import Access

_encode = JSONEncoder(ensure_ascii=False).encode
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_HEADINGS = {Message.Role.USER.value: "Question", Message.Role.ASSISTANT.value: "Reply"}


def as_json(session: ChatSession, access: Access) -> Iterator[bytes]:
    """Yield one JSON object, `{"session": …, "messages": […]}`, with the messages in order."""
    yield b'{"session": ' + _encode(session_data(session, access)).encode() + b', "messages": ['
    for number, message in enumerate(_messages(session)):
        yield (b"," if number else b"") + b"\n" + _encode(message_data(message, access)).encode()
    yield b"\n]}\n"


def as_markdown(session: ChatSession, access: Access) -> Iterator[bytes]:
    """Yield a heading for the session and one for each message, followed by its text as a quotation.

    Nothing in a text ends its quotation: no heading of a reader's text reads as another message.
    """
    yield f"# {_line(session.title) or 'Conversation'}\n\nSession {session.pk}\n".encode()
    for message in _messages(session):
        is_shown = message.provider and not access.is_public
        target = f", {_line(f'{message.provider}/{message.model}')}" if is_shown else ""
        status = "" if message.status == Message.Status.COMPLETE else f" ({message.status})"
        time = f"{message.created_at:%Y-%m-%d %H:%M:%S UTC}"
        heading = f"{_HEADINGS[message.role]}, {time}{target}{status}"
        yield f"\n## {heading}\n\n{_quoted(message.content)}\n".encode()


def _quoted(text: str) -> str:
    """Return `text` as a block quotation without HTML, whose tags could end it where HTML is shown."""
    return "\n".join(f"> {line}".rstrip() for line in _without_tags(text).splitlines())


def _line(text: str) -> str:
    return _without_tags(" ".join(text.split()))


def _without_tags(text: str) -> str:
    return _TAG.sub("&lt;", text)


FORMATS = {"json": (as_json, "application/json"), "markdown": (as_markdown, "text/markdown; charset=utf-8")}


def _messages(session: ChatSession) -> Iterator[Message]:
    return map(
        Message.from_document, Message.collection().find({"session_id": session.pk}, sort=[("seq", 1)])
    )
