"""What a run reserves of its tenant's limits: before its first call, and more before each further one.

A reservation is the upper bound of one answer. A call that fails may have been billed, and a call that
continues a broken answer sends that answer too. So before each further call the reservation must cover what
has been billed and the upper bound of that call. Then no limit of a month is exceeded, whatever fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal

from bson import ObjectId
from django.conf import settings
from pymongo.errors import PyMongoError

from chat.turns.attempts import billed_tokens, stored_attempt
from chat.turns.options import reserve, upper_bound
from chat.turns.settlement import settle_ended
from core.errors import LimitReached
from llm import canonical, errors
from tenants.billing.limits import CountersBusy
from tenants.billing.usage import Admission
from tenants.models import Tenant, Usage

logger = logging.getLogger(__name__)


class Budget:
    """The reservation of one run. Raises UnpricedRefused where the plan allows priced models only."""

    _admission: Admission  # since `admit`
    _sessions: int
    _kept_bytes: int

    def __init__(
        self,
        tenant: Tenant,
        reservation_id: ObjectId,
        request: canonical.Request,
        route: Sequence[canonical.Target],
    ) -> None:
        self._tenant = tenant
        self._reservation_id = reservation_id
        self._tokens, self._cost = reserve(tenant.plan, request, route)

    def admit(self, *, sessions: int = 0, kept_bytes: int = 0) -> Admission:
        """Reserve what the run may use of each limit. Raises LimitReached, KeptDataLimit.

        `sessions` and `kept_bytes` are what is stored with it.
        """
        self._sessions, self._kept_bytes = sessions, kept_bytes
        try:
            self._admission = self._admit()
        except LimitReached as refused:
            if refused.usage and refused.usage.name == "requests_per_minute":
                raise
            # Turns that have just ended may still hold what is missing.
            settle_ended(self._tenant.pk)
            self._admission = self._admit()
        return self._admission

    def _admit(self) -> Admission:
        return Usage.objects.admit(
            self._tenant,
            reservation_id=self._reservation_id,
            tokens=self._tokens,
            cost=self._cost,
            lease_seconds=settings.LLM_TOTAL_SECONDS + settings.TURN_LEASE_SECONDS,
            sessions=self._sessions,
            kept_bytes=self._kept_bytes,
        )

    def check(
        self, attempts: Sequence[canonical.Attempt], request: canonical.Request, target: canonical.Target
    ) -> None:
        """Have enough reserved for what `attempts` are billed and a call with `request` to `target`.

        Queries the database only if that is more than is reserved. Raises OutOfBudget if a limit has no room
        for it, BudgetUnknown if the database fails.
        """
        tokens, cost = upper_bound(request, [target])
        tokens += sum(billed_tokens(stored_attempt(attempt, 1)) for attempt in attempts)
        cost += sum(attempt.cost for attempt in attempts if attempt.cost is not None)
        more_tokens, more_cost = max(tokens - self._tokens, 0), max(cost - self._cost, Decimal(0))
        if more_tokens or more_cost:
            self._extend(more_tokens, more_cost)
            self._tokens += more_tokens
            self._cost += more_cost

    def _extend(self, tokens: int, cost: Decimal) -> None:
        try:
            if Usage.objects.extend(self._tenant, self._admission, tokens=tokens, cost=cost):
                return
        except LimitReached as refused:
            raise errors.OutOfBudget(
                f"The answer failed, and the plan has no room for another call. {refused.detail}",
                retry_after_seconds=refused.retry_after_seconds,
                limit=refused.extra["limit"],
            ) from refused
        except (PyMongoError, CountersBusy) as error:
            logger.warning("no further call: usage can't be counted", exc_info=True)
            raise errors.BudgetUnknown(
                "The answer failed, and usage can't be counted right now, so no other call was made."
            ) from error
        # Another worker took this one for dead and settled the run: further usage would not be billed.
        raise errors.BudgetUnknown("The answer failed, and its run had been ended elsewhere.")
