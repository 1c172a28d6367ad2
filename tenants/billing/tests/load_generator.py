"""A process that requests turns as fast as it can, for the race tests. Each line of stdin is a load."""

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

    def report(result: object) -> None:
        print(json.dumps(result), flush=True)

    report("up")
    for line in sys.stdin:
        load = json.loads(line)
        tenant = Tenant.objects.select_related("plan").get(pk=load["tenant"])
        rng = random.Random(load["seed"])
        report("ready")
        sys.stdin.readline()
        amounts = {"tokens": load["tokens"], "cost": Decimal(load["cost"])}
        now = datetime.fromisoformat(load["now"])
        admitted, admission = 0, None
        for _ in range(load["tries"]):
            reservation = ObjectId()
            try:
                if load["extend"] and admission:
                    assert Usage.objects.extend(tenant, admission, **amounts, now=now)
                else:
                    admission = Usage.objects.admit(
                        tenant, reservation_id=reservation, **amounts, lease_seconds=60, now=now
                    )
            except LimitReached:
                continue
            admitted += 1
            ending = rng.choice(load["endings"])
            if ending == "settle":
                Usage.objects.settle(tenant.pk, reservation, **amounts)
            elif ending == "release":
                Usage.objects.release(tenant.pk, reservation)
        report(admitted)


if __name__ == "__main__":
    main()
