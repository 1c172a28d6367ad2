"""A process that refuses a key when told to, for the race of refusals. Orders come by line on stdin."""

import json
import sys

import django
from bson import ObjectId


def main() -> None:
    django.setup()
    from tenants.models import Tenant
    from tenants.models.audit import Actor
    from tenants.models.refusals import record_refusal

    for line in sys.stdin:
        order = json.loads(line)
        tenant = Tenant.objects.get(pk=ObjectId(order["tenant"]))
        print("ready", flush=True)
        sys.stdin.readline()
        record_refusal(Actor(order["key"]), "api_key.refused", "revoked", tenant, tenant=tenant)
        print("done", flush=True)


if __name__ == "__main__":
    main()
