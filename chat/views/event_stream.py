"""The events of a turn as a streamed response, for as long as the client may read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from django.http import StreamingHttpResponse

from chat.serializers import message_data
from chat.turns import (
    PING,
    AccessEnded,
    EventSource,
    Reply,
    StreamGrant,
    StreamPermit,
    TurnEvent,
    encode,
    reply_error,
)
from chat.visitor_policy import error_for_visitor, event_for_visitor
from core.api.problems import ProblemDetails
from core.logs import request_id
from tenants.access import Access


class EventStream(StreamingHttpResponse):
    """A `text/event-stream` that proxies do not buffer."""

    def __init__(self, events: RevocableEvents) -> None:
        super().__init__(events, content_type="text/event-stream; charset=utf-8")
        #: Whether its events are all there (core.server.adapter).
        self.is_whole = events.is_whole
        self["Cache-Control"] = "no-store, no-transform"
        self["X-Accel-Buffering"] = "no"


class RevocableChunks:
    """The chunks of a download. Raises AccessEnded once `grant` is revoked.

    A download is sent when all of it is there (core.server.adapter), so its client gets a 403 then.
    """

    def __init__(self, chunks: Iterator[bytes], granted: StreamGrant) -> None:
        self._chunks = chunks
        self._grant = granted

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if self._grant.revoked:
                raise AccessEnded
            yield chunk
        self.close()

    def close(self) -> None:
        self._grant.release()


class RevocableEvents:
    """The encoded events of a reply until `grant` is revoked; then one `error`, and no more.

    `close()` reaches the source, also when the client has left before the first event.
    """

    def __init__(
        self,
        source: EventSource,
        grant: StreamGrant,
        permit: StreamPermit | None = None,
        *,
        is_whole: bool = False,
    ) -> None:
        """`permit` is released with the stream; the events of a turn release that of the turn themselves.

        If it `is_whole` the source waits for nothing: all events are there.
        """
        self._source = source
        self._grant = grant
        self._permit = permit
        self.is_whole = is_whole
        self._ahead: deque[TurnEvent | Reply | None] = deque()

    @property
    def is_revoked(self) -> bool:
        return self._grant.revoked

    def begin_with_ping(self) -> None:
        """Send something at once, so that the client sees that the stream is open."""
        self._ahead.append(None)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            event = self._ahead.popleft() if self._ahead else self._next()
            if self.is_revoked:
                yield encode(_access_ended(event))
                break
            if isinstance(event, Reply):
                yield from map(encode, final_events(event, self._grant.access))
                break
            yield PING if event is None else encode(self._shown(event))
        self.close()

    def close(self) -> None:
        self._grant.release()
        self._source.close()
        if self._permit:
            self._permit.release()

    def _shown(self, event: TurnEvent) -> TurnEvent:
        if not self._grant.access.is_public:
            return event
        return event._replace(data=event_for_visitor(event.name, event.data))

    def _next(self) -> TurnEvent | Reply | None:
        if self.is_revoked:
            return None
        try:
            return next(self._source)
        except StopIteration:  # it was stopped because access was revoked
            if not self.is_revoked:
                raise
            return None


def final_events(reply: Reply, access: Access) -> list[TurnEvent]:
    """Return `usage` and `done` with the complete reply, or `error` with a problem; a partial text stays.

    Visitors get no `usage`.
    """
    epoch, offset = reply.epoch, len(reply.content)
    if not reply.is_successful:
        error = reply_error(reply)
        shown = error_for_visitor(error) if access.is_public else error
        return [
            TurnEvent("error", ProblemDetails.of(shown).body(request_id.get()), epoch, offset, is_end=True)
        ]
    data = message_data(reply, access)
    done = TurnEvent("done", data, epoch, offset, is_end=True)
    return [done] if access.is_public else [TurnEvent("usage", data["usage"], epoch, offset), done]


def _access_ended(last: TurnEvent | Reply | None) -> TurnEvent:
    match last:
        case Reply():
            position = last.epoch, len(last.content)
        case TurnEvent():
            position = last.epoch, last.offset
        case _:
            position = 0, 0
    problem = ProblemDetails.of(AccessEnded()).body(request_id.get())
    return TurnEvent("error", problem, *position)
