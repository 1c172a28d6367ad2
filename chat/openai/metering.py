"""A run that is limited and billed like a turn, and of which nothing else is stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bson import ObjectId
from pymongo.errors import PyMongoError

from chat.models import Message
from chat.turns import (
    Budget,
    FinishedRun,
    acquire_permit,
    grant,
    release_on_database_error,
    settlement,
    stored_attempt,
)
from core.server import slots
from llm import canonical, errors
from llm.routing import Run
from tenants.access import Access
from tenants.access.rights import SEND_MESSAGES
from tenants.models import Usage

Status = Message.Status


class MeteredRun:
    """One admitted run; iterate over it once, to its end, for its canonical events.

    It is given to settlement before its last event is yielded. The provider is always asked for a stream:
    only streams have a first token to wait for and can be rescued. Raises LimitReached and WorkerBusy when
    created.
    """

    def __init__(
        self,
        access: Access,
        request: canonical.Request,
        route: Sequence[canonical.Target],
        *,
        can_restart: bool = True,
    ) -> None:
        self.id = ObjectId()
        budget = Budget(access.tenant, self.id, request, route)
        self._access = access
        self._run = Run(
            request,
            route,
            can_restart=can_restart,
            check_budget=budget.check,
            origin=str(access.tenant.pk),
        )
        self._has_text = False
        self._ended = False
        with acquire_permit(access) as self._permit, release_on_database_error(access.tenant.pk, self.id):
            self.admission = budget.admit()
        self._grant = grant(access, SEND_MESSAGES, self.cancel, route)

    def __iter__(self) -> Iterator[canonical.Event]:
        slots.release_current()  # from here on it waits for the provider
        try:
            for event in self._run:
                match event:
                    case canonical.Text(text) | canonical.Refusal(text):
                        self._has_text = self._has_text or bool(text)
                    case canonical.Finished():
                        self._end(Status.COMPLETE)
                    case canonical.Failed(errors.Cancelled()):
                        self._end(Status.CANCELLED)
                    case canonical.Failed():
                        self._end(Status.FAILED)
                yield event
        finally:
            self._end(Status.INTERRUPTED)

    @property
    def is_revoked(self) -> bool:
        """Whether the access to it ended before the run did."""
        return self._grant.revoked

    @property
    def notes(self) -> list[str]:
        """What of the client's request was left out or changed for the target that answered, in sentences."""
        return list(self._run.attempts[-1].notes) if self._run.attempts else []

    def cancel(self) -> None:
        """Stop the provider, from any thread; what it has generated until then is billed."""
        self._run.cancel()

    def _end(self, status: Status) -> None:
        if self._ended:
            return
        self._ended = True
        self._grant.release()
        self._permit.release()
        key = self._access.key
        settlement.settle_soon(
            FinishedRun(
                tenant_id=self._access.tenant.pk,
                reservation_id=self.id,
                reply_id=self.id,
                month=self.admission.month,
                status=status.value,
                has_text=self._has_text,
                attempts=[stored_attempt(attempt, 1) for attempt in self._run.attempts],
                api_key=key.pk if key else None,
            )
        )
        if self._access.tenant.plan.concurrent_turns is not None:
            # Before the end of the answer is sent: its client's next call may come to another worker.
            with contextlib.suppress(PyMongoError):  # The settlement does it too, a little later.
                Usage.objects.end(self._access.tenant.pk, self.id)
