"""An HTTP client on real sockets that sends each message in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import requests

#: Longer than any request takes on a busy machine.
STUCK_SECONDS = 60

#: The events that end a stream.
FINAL = {"done", "error"}


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str
    data: dict[str, Any]


def events(response: requests.Response) -> Iterator[Event]:
    """Yield the events as they arrive; pings are events with that name."""
    buffer, last = b"", ""
    for data in response.iter_content(None):
        *blocks, buffer = (buffer + data).split(b"\n\n")
        for block in blocks:
            assert last not in FINAL, f"{block!r} came after the end"
            event = _event(block.decode())
            last = event.name
            yield event


def _event(block: str) -> Event:
    if block.startswith(":"):
        return Event("ping", "", {})
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return Event(fields["event"], fields["id"], json.loads(fields["data"]))


def text_of(received: list[Event]) -> str:
    """Return the text that a client has after these events: `restart` voids all before it."""
    text = ""
    for event in received:
        if event.name == "restart":
            text = ""
        elif event.name == "delta":
            text += event.data["text"]
    return text


class Client:
    """A caller with an API key, at the server of `url`."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.headers = {"X-API-Key": secret}

    def messages(self, session_id: Any) -> str:
        return f"{self.url}/api/chat/sessions/{session_id}/messages"

    def get(self, url: str, **headers: str) -> requests.Response:
        return requests.get(url, headers=self.headers | headers, timeout=STUCK_SECONDS)

    def post(self, url: str, body: dict[str, Any], **headers: str) -> requests.Response:
        return requests.post(url, json=body, headers=self.headers | headers, timeout=STUCK_SECONDS)

    def send(self, session_id: Any, *, key: str | None = None, **body: Any) -> Exchange:
        """Send a message in the background."""
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        return Exchange("POST", self.messages(session_id), headers, {"message": "Count.", **body})

    def follow(self, session_id: Any, reply_id: Any, last: str | None = None) -> Exchange:
        """Read a reply in the background, from the event `last` on."""
        headers = self.headers | ({"Last-Event-ID": last} if last else {})
        return Exchange("GET", f"{self.messages(session_id)}/{reply_id}/stream", headers)


class Exchange:
    """One request and what has been received of its response, read in a thread.

    `events` grows by each event of a stream, `body` is the JSON of any other response, `error` the exception
    if the connection ended early.
    """

    def __init__(self, method: str, url: str, headers: dict[str, str], body: Any = None) -> None:
        self._request = requests.Request(method, url, headers, json=body).prepare()
        self.status: int | None = None
        self.headers: Any = {}
        self.events: list[Event] = []
        self.body: Any = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with (
                requests.Session() as session,
                session.send(self._request, stream=True, timeout=STUCK_SECONDS) as response,
            ):
                self.headers, self.status = response.headers, response.status_code
                if response.headers["Content-Type"].startswith("text/event-stream"):
                    for event in events(response):
                        self.events.append(event)
                else:
                    self.body = response.json()
        except requests.RequestException as error:
            self.error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Exchange:
        self._thread.join(STUCK_SECONDS)
        assert self.is_over, f"stuck: {self._request.method} {self._request.url}: {self.events[-1:]}"
        return self

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    @property
    def text(self) -> str:
        return text_of(self.events)
