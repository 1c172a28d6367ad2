"""What a run may use of its tenant's limits: reserved before its first call, and more before a further one.

A reservation is the upper bound of one answer. A call that fails may have been billed, and one that
continues a broken answer sends that along. So before every further call the reservation must cover
what is billed so far and the upper bound of that call; then no month's limit is passed, whatever fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal

from bson import ObjectId
from django.conf import settings
from pymongo.errors import PyMongoError

from chat.turns.options import reserve, upper_bound
from chat.turns.settlement import billed_tokens, settle_ended
from chat.turns.turn import attempt_data
from core.errors import LimitReached
from llm import canonical, errors
from tenants.billing.limits import CountersBusy
from tenants.billing.usage import Admission
from tenants.models import Tenant, Usage

logger = logging.getLogger("chat.turns.budget")


class Budget:
    """What one run holds reserved.

    Raises 403 when made, where the plan refuses models without a price.
    """

    def __init__(
        self,
        tenant: Tenant,
        reservation: ObjectId,
        request: canonical.Request,
        route: Sequence[canonical.Target],
    ) -> None:
        self._tenant = tenant
        self._reservation = reservation
        self._tokens, self._cost = reserve(tenant.plan, request, route)
        self._admission: Admission | None = None

    def admit(self) -> Admission:
        """Take the run's share of every limit. Raises LimitReached."""
        try:
            self._admission = self._admitted()
        except LimitReached as refused:
            if refused.usage and refused.usage.name == "requests_per_minute":
                raise
            # Turns that have just ended may have held what stood in the way.
            settle_ended(self._tenant.pk)
            self._admission = self._admitted()
        return self._admission

    def _admitted(self) -> Admission:
        return Usage.objects.admit(
            self._tenant,
            reservation_id=self._reservation,
            tokens=self._tokens,
            cost=self._cost,
            lease_seconds=settings.LLM_TOTAL_SECONDS + settings.TURN_LEASE_SECONDS,
        )

    def afford(
        self, attempts: Sequence[canonical.Attempt], request: canonical.Request, target: canonical.Target
    ) -> None:
        """Have enough reserved for what `attempts` are billed and a call with `request` to `target`.

        The database is asked only if that is more than is reserved. Raises OutOfBudget if there
        is no room for it, BudgetUnknown if the database can't say.
        """
        tokens, cost = upper_bound(request, [target])
        tokens += sum(billed_tokens(attempt_data(attempt, 1)) for attempt in attempts)
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
            logger.warning("further call not made: usage can't be counted", exc_info=True)
            raise errors.BudgetUnknown(
                "The answer failed, and usage can't be counted right now, so no other call was made."
            ) from error
        # Its run was taken for dead: whatever it went on to use would be on no bill.
        raise errors.BudgetUnknown("The answer failed, and its run had been ended elsewhere.")
