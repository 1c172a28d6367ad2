"""One mailbox has one address, however its domain is written."""

from importlib import import_module

import pytest
from django.apps import apps

from accounts.models import User, can_be_mailed, normalised_email


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (" Carol@Example.COM ", "carol@example.com"),
        ("carol@exam\N{SOFT HYPHEN}ple.com", "carol@example.com"),
        ("carol@exam\N{ZERO WIDTH NON-JOINER}ple.com", "carol@example.com"),
        ("carol@example\N{IDEOGRAPHIC FULL STOP}com", "carol@example.com"),
        ("carol@XN--BCHER-KVA.de", "carol@bücher.de"),
        ("carol@BÜCHER.de", "carol@bücher.de"),
        ("carol@faß.de", "carol@fass.de"),
        ("carol@xn--a.com", "carol@xn--a.com"),
        ("carol@", "carol@"),
        ("carol", "carol"),
        ("ca\N{SOFT HYPHEN}rol", "ca\N{SOFT HYPHEN}rol"),
    ],
)
def test_an_address_has_one_form(written, stored):
    assert normalised_email(written) == stored
    assert normalised_email(stored) == stored


def test_very_long_texts_are_no_addresses():
    """The codec for domains takes quadratic time."""
    text = "carol@" + "ü" * 1_000_000
    assert normalised_email(text) == text
    assert not can_be_mailed(text)


def test_stored_addresses_get_their_form_unless_it_is_taken(alice):
    for number, email in enumerate(["bob@faß.de", "alice@exam\N{SOFT HYPHEN}ple.com", "eve@" + "ü" * 60]):
        user = User.objects.create_user(f"user{number}@example.com", name="User")
        User.collection().update_one({"_id": user.pk}, {"$set": {"email": email}})

    import_module("accounts.migrations.0005_same_domains").normalise_domains(apps, None)

    emails = set(User.objects.values_list("email", flat=True))
    assert emails == {alice.email, "bob@fass.de", "alice@exam\N{SOFT HYPHEN}ple.com", "eve@" + "ü" * 60}
