"""A run that is limited and billed like a turn, and of which nothing else is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bson import ObjectId

from chat.models import Message
from chat.turns import settlement
from chat.turns.acceptance import given_back_on_failure
from chat.turns.access_watch import hold
from chat.turns.budget import Budget
from chat.turns.turn import attempt_data
from llm import canonical, errors
from llm.routing import Run
from tenants.access import Access
from tenants.access.rights import SEND_MESSAGES

Status = Message.Status


class MeteredRun:
    """One admitted run; iterate over it once, to its end, for its canonical events.

    It is settled before its last event is handed out. The provider is always asked
    for a stream: only streams have a first token to wait for and can be rescued.
    Raises LimitReached when made.
    """

    def __init__(self, access: Access, request: canonical.Request, route: Sequence[canonical.Target]) -> None:
        self.id = ObjectId()
        budget = Budget(access.tenant, self.id, request, route)
        self._access = access
        self._run = Run(request, route, check_budget=budget.afford)
        self._text = ""
        self._settled = False
        with given_back_on_failure(access.tenant.pk, self.id):
            self.admission = budget.admit()
        self._hold = hold(access, SEND_MESSAGES, self.cancel)

    def __iter__(self) -> Iterator[canonical.Event]:
        try:
            for event in self._run:
                match event:
                    case canonical.Text(text):
                        self._text = self._text or text
                    case canonical.Finished():
                        self._settle(Status.COMPLETE)
                    case canonical.Failed(errors.Cancelled()):
                        self._settle(Status.CANCELLED)
                    case canonical.Failed():
                        self._settle(Status.FAILED)
                yield event
        finally:
            self._settle(Status.INTERRUPTED)

    def cancel(self) -> None:
        """Stop the provider, from any thread; what it was asked for until then is billed."""
        self._run.cancel()

    def _settle(self, status: Status) -> None:
        if self._settled:
            return
        self._settled = True
        self._hold.release()
        settlement.settle_soon(
            {
                "_id": self.id,
                "reservation": self.id,
                "tenant_id": self._access.tenant.pk,
                "session_id": None,
                "api_key": self._access.key.pk,
                "month": self.admission.month,
                "run": 1,
                "status": status.value,
                # Only whether there is any counts: a cancelled answer is a message if some of it was read.
                "content": self._text,
                "attempts": [attempt_data(attempt, 1) for attempt in self._run.attempts],
                "settled": False,
            }
        )
