"""A process that asks for turns as fast as it can, for the race tests. Orders come by line on stdin."""

import json
import random
import sys
from datetime import datetime
from decimal import Decimal

import django
from bson import ObjectId


def main() -> None:
    django.setup()
    from core.errors import LimitReached
    from tenants.models import Tenant, Usage

    def say(answer: object) -> None:
        print(json.dumps(answer), flush=True)

    say("up")
    for line in sys.stdin:
        order = json.loads(line)
        tenant = Tenant.objects.select_related("plan").get(pk=order["tenant"])
        chance = random.Random(order["seed"])
        say("ready")
        sys.stdin.readline()
        share = {"tokens": order["tokens"], "cost": Decimal(order["cost"])}
        now = datetime.fromisoformat(order["now"])
        granted, admission = 0, None
        for _ in range(order["tries"]):
            reservation = ObjectId()
            try:
                if order["extend"] and admission:
                    assert Usage.objects.extend(tenant, admission, **share, now=now)
                else:
                    admission = Usage.objects.admit(
                        tenant, reservation_id=reservation, **share, lease_seconds=60, now=now
                    )
            except LimitReached:
                continue
            granted += 1
            ending = chance.choice(order["endings"])
            if ending == "settle":
                Usage.objects.settle(tenant.pk, reservation, **share)
            elif ending == "release":
                Usage.objects.release(tenant.pk, reservation)
        say(granted)


if __name__ == "__main__":
    main()
