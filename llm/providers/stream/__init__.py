"""From the bytes of an HTTP response to the JSON documents in it.

`body` undoes chunked framing and compression, `sse` splits server-sent events, `json_stream`
decodes the JSON of either. They are used in this order; callers need only the names below.
"""

from llm.providers.stream.body import Idle, ProtocolError, ResponseBody, StreamError, Truncated
from llm.providers.stream.json_stream import Document, JSONStream, parse_json
from llm.providers.stream.sse import SizeLimitExceeded

__all__ = [
    "Document",
    "Idle",
    "JSONStream",
    "ProtocolError",
    "ResponseBody",
    "SizeLimitExceeded",
    "StreamError",
    "Truncated",
    "parse_json",
]
