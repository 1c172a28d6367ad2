"""A run that is limited and billed like a turn, and of which nothing else is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bson import ObjectId
from django.conf import settings

from chat import settlement
from chat.models import Message
from chat.options import reserve
from chat.turns import attempt_data
from llm import canonical, errors
from llm.routing import Run
from tenants.access import Access
from tenants.models import Usage


class MeteredRun:
    """One admitted run. Iterating yields its canonical events; it is settled however that ends.

    `close` stops the provider; what it was asked for until then is billed.
    Raises LimitExceeded when made.
    """

    def __init__(
        self,
        access: Access,
        request: canonical.Request,
        route: Sequence[canonical.Target],
        *,
        stream: bool,
    ) -> None:
        tokens, cost = reserve(access.tenant.plan, request, route)
        self.id = ObjectId()
        self.access = access
        self.admission = Usage.objects.admit(
            access.tenant,
            reply_id=self.id,
            tokens=tokens,
            cost=cost,
            lease_seconds=settings.LLM_TOTAL_SECONDS + settings.TURN_LEASE_SECONDS,
        )
        self._run = Run(request, route, stream=stream)
        self._events = iter(self._run)
        self._status = Message.Status.INTERRUPTED
        self._settled = False

    def __iter__(self) -> Iterator[canonical.Event]:
        try:
            for event in self._events:
                match event:
                    case canonical.Finished():
                        self._status = Message.Status.COMPLETE
                        self._settle()
                    case canonical.Failed(error):
                        cancelled = isinstance(error, errors.Cancelled)
                        self._status = Message.Status.CANCELLED if cancelled else Message.Status.FAILED
                        self._settle()
                yield event
        finally:
            self.close()

    def close(self) -> None:
        """Stop the provider if it is still answering, and settle. Repeatable."""
        if self._settled:
            return
        self._run.cancel()
        for event in self._events:  # short: the run is cancelled and only writes its receipt
            if isinstance(event, canonical.Finished):
                self._status = Message.Status.COMPLETE
        self._settle()

    def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        settlement.settle_soon(
            {
                "_id": self.id,
                "reservation": self.id,
                "tenant_id": self.access.tenant.pk,
                "session_id": None,
                "api_key": self.access.key.pk,
                "month": self.admission.month,
                "run": 1,
                "status": self._status.value,
                "content": "",
                "attempts": [attempt_data(attempt, 1) for attempt in self._run.attempts],
                "settled": False,
            }
        )
