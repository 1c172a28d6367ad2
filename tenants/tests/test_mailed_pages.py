"""The pages that links in mails open, in a real browser: an invited person needs nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core import mail
from playwright.sync_api import Browser, BrowserContext, Page

from accounts.mailed_tokens import PASSWORD_RESET, send_confirmation, send_password_reset, token_for
from accounts.models import RefreshToken, User
from core.audit.models import Source
from qa.testing.accounts import PASSWORD
from qa.testing.browser import browser_context, launched
from qa.testing.server import RunningServer
from qa.testing.tenants import by
from tenants.models import Invitation, Membership

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NEW = "quite another phrase"


@pytest.fixture(scope="module")
def server(database_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(database_uri, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture
def context(browser, server, acme, settings) -> Iterator[BrowserContext]:
    settings.PUBLIC_URL = server.url
    with browser_context(browser, server.url) as (opened, errors):
        yield opened
    # A refusal of the API is an error of the console; scripts and styles have none.
    assert [error for error in errors if "status of 4" not in error] == []


def mailed_url() -> str:
    return re.search(r"http://\S+", mail.outbox[-1].body).group()


def opened(context: BrowserContext, url: str, picture: str = "") -> Page:
    """Return the page; its pictures are for people, who set PICTURES to a folder."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("form:not([hidden]) [type=submit], #problem:not([hidden])")
    for hidden in page.locator("[hidden]").all():
        assert not hidden.is_visible()
    if picture and (folder := os.environ.get("PICTURES")):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=Path(folder) / f"{picture}-{width}.png")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"
    return page


def succeeded(page: Page) -> str:
    page.wait_for_selector("#success:not([hidden])")
    return page.locator("#success").inner_text()


def problem_of(page: Page) -> str:
    page.wait_for_selector("#problem:not([hidden])")
    return page.locator("#problem").inner_text()


def invite(acme, alice, email: str) -> None:
    Invitation.objects.send(acme, email=email, role="developer", by=by(alice))


def test_a_new_person_accepts_an_invitation(context, acme, alice):
    invite(acme, alice, "eve+shop@example.com")
    page = opened(context, mailed_url(), "invitation")
    assert page.input_value("#email") == "eve+shop@example.com"
    page.fill("#name", "Eve")
    page.fill("#password", "short")
    page.click("[type=submit]")
    assert "10" in problem_of(page)

    page.fill("#password", PASSWORD)
    page.click("[type=submit]")

    assert succeeded(page) == "You are now a member of Acme, as developer."
    eve = User.objects.get(email="eve+shop@example.com")
    assert Membership.objects.get(tenant=acme, user=eve).role == "developer"
    assert not eve.refresh_tokens.live().exists()


def test_a_person_with_an_account_signs_in_and_accepts(context, acme, alice):
    User.objects.create_user("eve@example.com", PASSWORD)
    invite(acme, alice, "eve@example.com")
    page = opened(context, mailed_url())
    page.fill("#password", PASSWORD)
    page.click("[type=submit]")
    assert problem_of(page) == "This address has an account. Choose to sign in."

    page.check("[value=existing]")
    page.click("[type=submit]")

    assert "Acme" in succeeded(page)
    assert not RefreshToken.objects.live().filter(user__email="eve@example.com").exists()


def test_an_invitation_that_was_revoked_is_explained(context, acme, alice):
    invite(acme, alice, "eve@example.com")
    Invitation.objects.get().revoke(by(alice))
    page = opened(context, mailed_url())
    page.fill("#password", PASSWORD)
    page.click("[type=submit]")

    assert "invitation" in problem_of(page).lower()
    page.click("[type=submit]")  # the account exists by now: the form signs in to it
    assert "invitation" in problem_of(page).lower()


def test_a_password_is_requested_and_set(context, alice):
    alice.set_password(PASSWORD)
    alice.save(update_fields=["password"])
    page = opened(context, "/password-reset", "password-request")
    page.fill("#email", alice.email)
    page.click("[type=submit]:visible")
    assert "mail" in succeeded(page)

    send_password_reset(alice.email, Source(""))
    page = opened(context, mailed_url(), "password")
    page.fill("#password", NEW)
    page.fill("#repeated", f"{NEW}!")
    page.click("[type=submit]:visible")
    assert problem_of(page) == "The two passwords differ."
    page.fill("#repeated", NEW)
    page.click("[type=submit]:visible")
    succeeded(page)
    assert User.objects.get(pk=alice.pk).check_password(NEW)

    page = opened(context, mailed_url())
    page.fill("#password", f"{NEW}?")
    page.fill("#repeated", f"{NEW}?")
    page.click("[type=submit]:visible")
    assert "not valid any more" in problem_of(page)


def test_an_address_is_confirmed(context, alice):
    User.objects.filter(pk=alice.pk).update(email_confirmed=False)
    send_confirmation(alice.email)
    page = opened(context, mailed_url(), "confirmation")
    assert alice.email in page.inner_text("#confirmation")
    page.click("[type=submit]")

    assert "confirmed" in succeeded(page)
    assert User.objects.get(pk=alice.pk).email_confirmed is True


@pytest.mark.parametrize("path", ["/invitation", "/confirm-email"])
def test_a_page_without_its_token_says_so(context, path):
    assert "link of the mail" in problem_of(opened(context, path))


def test_no_token_reaches_the_servers_log(context, server, alice):
    alice.set_password(PASSWORD)
    alice.save(update_fields=["password"])
    token = token_for(User.objects.get(pk=alice.pk), PASSWORD_RESET)
    opened(context, f"/password-reset#token={token}").reload()

    assert "/password-reset" in server.output
    assert token not in server.output
