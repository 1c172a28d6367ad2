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
    from tenants.billing.limits import LimitExceeded
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
            reply_id = ObjectId()
            try:
                if order["extend"] and admission:
                    assert Usage.objects.extend(tenant, admission, **share, now=now)
                else:
                    admission = Usage.objects.admit(
                        tenant, reply_id=reply_id, **share, lease_seconds=60, now=now
                    )
            except LimitExceeded:
                continue
            granted += 1
            ending = chance.choice(order["endings"])
            if ending == "settle":
                Usage.objects.settle(tenant.pk, reply_id, **share)
            elif ending == "release":
                Usage.objects.release(tenant.pk, reply_id)
        say(granted)


if __name__ == "__main__":
    main()
