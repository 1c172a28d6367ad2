"""A site's server talking to ours over real sockets, each message in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import requests

#: Longer than anything takes on a busy machine; what waits so long is stuck.
STUCK_SECONDS = 60

#: The events that end a stream: nothing may follow.
FINAL = {"done", "error"}


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str
    data: dict[str, Any]


def events(response: requests.Response) -> Iterator[Event]:
    """Yield the events as they arrive; pings are events of that name."""
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


def text_of(happened: list[Event]) -> str:
    """Return the text a client holds after these events: `restart` drops what came before."""
    text = ""
    for event in happened:
        if event.name == "restart":
            text = ""
        elif event.name == "delta":
            text += event.data["text"]
    return text


class Client:
    """Whoever holds `secret`, at the server of `url`."""

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
    """One request and what came back so far, read in a thread.

    `status` and `headers` come with the head; `happened` grows by each event of a stream, `body` is the
    JSON of any other answer; `broke` is the exception if the connection ended early.
    """

    def __init__(self, method: str, url: str, headers: dict[str, str], body: Any = None) -> None:
        self._request = requests.Request(method, url, headers, json=body).prepare()
        self.status: int | None = None
        self.headers: Any = {}
        self.happened: list[Event] = []
        self.body: Any = None
        self.broke: Exception | None = None
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
                        self.happened.append(event)
                else:
                    self.body = response.json()
        except requests.RequestException as error:
            self.broke = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Exchange:
        self._thread.join(STUCK_SECONDS)
        assert self.over, f"stuck: {self._request.method} {self._request.url}: {self.happened[-1:]}"
        return self

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.happened]

    @property
    def text(self) -> str:
        return text_of(self.happened)
