"""Response bodies in the formats of OpenAI and Gemini, to be sent byte for byte."""

import json

DONE = "data: [DONE]\n\n"


def chunk(content=None, finish=None, *, newline="\n", **fields):
    """Return one chunk in OpenAI's format as an event."""
    delta = fields.pop("delta", {} if content is None else {"content": content})
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c1", "model": "m-1", "choices": [choice], **fields}
    return f"data: {json.dumps(body, ensure_ascii=False)}{newline}{newline}"


def part(*parts, finish=None, newline="\r\n", **fields):
    """Return one chunk in Gemini's format as an event; a string is a text part."""
    part_list = [{"text": item} if isinstance(item, str) else item for item in parts]
    candidate = {"content": {"role": "model", "parts": part_list}}
    if finish:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], **fields}
    return f"data: {json.dumps(body, ensure_ascii=False)}{newline}{newline}"


def calls(*fragments):
    return chunk(delta={"tool_calls": list(fragments)})


def fragment(arguments=None, *, name=None, **fields):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


END = chunk("", "stop") + DONE
