"""A process that records denials of keys on command, for the test of concurrent denials.

Reads lines of stdin: `{"tenant": id, "key": prefix}`, answered by "ready"; then "go", answered by "done".
"""

import json
import sys

import django
from bson import ObjectId


def main() -> None:
    django.setup()
    from core.audit.denials import record_denial
    from core.audit.models import Actor
    from tenants.models import Tenant

    for line in sys.stdin:
        order = json.loads(line)
        tenant = Tenant.objects.get(pk=ObjectId(order["tenant"]))
        print("ready", flush=True)
        sys.stdin.readline()
        record_denial(Actor(order["key"]), "api_key.refused", "revoked", tenant, tenant_id=tenant.pk)
        print("done", flush=True)


if __name__ == "__main__":
    main()
