"""The rate of one caller does not limit another one. The matrix itself runs without rate limits."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from qa.testing.tenants import signed_in, with_key
from tenants.models import Tenant
from tenants.models.api_key import IssuedKey

RATE = "2/m"


@pytest.mark.usefixtures("one_window")
def test_callers_are_counted_apart(
    acme: Tenant, alice: User, bob: User, secret_key: IssuedKey, client: Client, settings
):
    settings.RATES = {**settings.RATES, "default": RATE}
    usage = f"/api/tenants/{acme.pk}/usage"

    statuses = [signed_in(alice).get(usage).status_code for _ in range(3)]

    assert statuses == [200, 200, 429]
    assert signed_in(bob).get(usage).status_code == 200
    assert with_key(secret_key.secret).get(usage).status_code == 200
    assert client.get(usage).status_code == 401
