"""Production without a mail server: no mail is promised, and no token is written to the log."""

from __future__ import annotations

import re

import pytest
import requests

from accounts.models import User
from qa.testing.accounts import PASSWORD
from tenants.models import Invitation

pytestmark = pytest.mark.slow


def sign_in(url: str, email: str) -> dict[str, str]:
    body = {"email": email, "password": PASSWORD}
    answer = requests.post(f"{url}/api/auth/login", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access']}"}


def test_without_a_mail_server_no_mail_is_promised_and_no_token_is_logged(product, db):
    User.objects.create_user("owner@example.com", PASSWORD)
    headers = sign_in(product.url, "owner@example.com")
    tenant = requests.post(
        f"{product.url}/api/tenants", json={"name": "Own"}, headers=headers, timeout=60
    ).json()

    invitation = requests.post(
        f"{product.url}/api/tenants/{tenant['id']}/invitations",
        json={"email": "new@example.com", "role": "viewer"},
        headers=headers,
        timeout=60,
    )
    resets = [
        requests.post(f"{product.url}/api/auth/password-reset", json={"email": email}, timeout=60)
        for email in ("owner@example.com", "unknown@example.com")
    ]

    for answer in (invitation, *resets):
        assert (answer.status_code, answer.json()["code"]) == (503, "mail_not_configured")
        assert "EMAIL_URL" in answer.json()["detail"]
    assert not Invitation.objects.exists()
    assert not re.search(r"inv_[\w-]{16,}", product.output)
    assert "EMAIL_URL is not set" in product.output
