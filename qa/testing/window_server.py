"""An OpenAI-compatible server whose model has a context window, for tests of what happens beyond it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_ANSWER = {"choices": [{"index": 0, "delta": {"content": "Fine."}, "finish_reason": "stop"}]}


class WindowServer:
    """Refuses requests of more than `window` tokens, counted by `count`, as `refusal` says.

    `{window}` and `{sent}` in the refusal are the numbers. `listed` are fields of the model's entry in the
    list of models. `sent` has the messages of every request, `listings` how often the list was read.
    """

    def __init__(
        self,
        window: int,
        *,
        refusal: str = "Prompt exceeds max length",
        listed: dict[str, Any] | None = None,
        count: Callable[[str], float] = lambda text: len(text) / 5,
    ) -> None:
        self.window, self.refusal, self.listed, self.count = window, refusal, listed or {}, count
        self.sent: list[list[dict[str, Any]]] = []
        self.listings = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.listings += 1
                entries = [{"id": "own-model", "object": "model", **server.listed}]
                self._send(200, "application/json", json.dumps({"data": entries}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.sent.append(body["messages"])
                text = "".join(str(message["content"]) for message in body["messages"])
                used = round(server.count(text)) + (body.get("max_tokens") or 0)
                if used <= server.window:
                    self._send(200, "text/event-stream", f"data: {json.dumps(_ANSWER)}\n\ndata: [DONE]\n\n")
                    return
                words = server.refusal.format(window=server.window, sent=used)
                error = {"message": words, "code": "context_length_exceeded"}
                self._send(400, "application/json", json.dumps({"error": error}))

            def _send(self, status: int, kind: str, text: str) -> None:
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
