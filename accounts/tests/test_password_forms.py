"""One password typed on different keyboards and systems: composed, decomposed, with other spaces."""

from __future__ import annotations

import unicodedata

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password

from accounts.models import User
from accounts.passwords import normalised_password
from qa.testing.accounts import AuthClient

#: A password, and other forms of the same.
FORMS = {
    "Latin": ["Ça suffit, André!", unicodedata.normalize("NFD", "Ça suffit, André!")],
    "Vietnamese": ["mật khẩu của tôi", unicodedata.normalize("NFD", "mật khẩu của tôi")],
    "Korean": ["비밀번호는 열두 글자", unicodedata.normalize("NFD", "비밀번호는 열두 글자")],
    "Angstrom": ["10 Ångström long", "10 \u212bngstr\u00f6m long"],
    "marks in another order": ["a\u0323\u0307bcdefghijk", "a\u0307\u0323bcdefghijk"],
    "spaces": ["three words here", "three\u00a0words\u3000here", "three\u2003words\u202fhere"],
    "Hindi": [
        "\u0958\u0930\u0940\u092c \u0938\u0947 " * 2,
        "\u0915\u093c\u0930\u0940\u092c \u0938\u0947 " * 2,
    ],
}

#: Different passwords, which are not to be taken for each other.
DIFFERENT = [
    ("correct horse battery", "Correct horse battery"),
    ("ﬁve more letters", "five more letters"),
    ("passwort ½ lang genug", "passwort 1⁄2 lang genug"),
    ("straße straße straße", "strasse strasse strasse"),
    ("correct horse battery", "correct horse battery "),
]


def register(email: str, password: str) -> None:
    client = AuthClient(email)
    answer = client.post("register", {"email": email, "password": password, "name": "Someone"})
    assert answer.status_code == 201, answer.data


@pytest.mark.parametrize("forms", FORMS.values(), ids=FORMS)
def test_every_form_of_a_password_signs_in(db, forms):
    assert len(set(forms)) > 1
    assert {normalised_password(form) for form in forms} == {normalised_password(forms[0])}
    for number, registered in enumerate(forms):
        email = f"user{number}@example.com"
        register(email, registered)
        for typed in forms:
            assert AuthClient(email).log_in(typed).status_code == 200


def test_a_password_is_judged_in_its_one_form(db):
    short = "비밀번호"  # four letters, which are ten characters when they are decomposed
    for form in (short, unicodedata.normalize("NFD", short)):
        body = {"email": "user@example.com", "password": form, "name": "Someone"}
        assert AuthClient("user@example.com").post("register", body).status_code == 400


@pytest.mark.parametrize(("password", "other"), DIFFERENT)
def test_different_passwords_stay_different(db, password, other):
    User.objects.create_user("user@example.com", password)
    assert AuthClient("user@example.com").log_in(other).status_code == 401


@pytest.mark.parametrize("forms", [FORMS["Latin"], FORMS["spaces"]])
def test_a_changed_password_is_known_in_every_form(laptop, forms):
    for current, new in (("correct horse battery", forms[0]), (forms[1], forms[1] + "!")):
        body = {"current_password": current, "new_password": new}
        assert laptop.put("change-password", body).status_code == 204
    assert AuthClient(laptop.email).log_in(forms[0] + "!").status_code == 200


def test_a_hash_of_the_password_as_it_was_typed_is_still_accepted_and_replaced(alice):
    composed, decomposed = FORMS["Latin"]
    User.objects.filter(pk=alice.pk).update(password=make_password(decomposed))

    assert AuthClient(alice.email).log_in(composed).status_code == 401
    assert AuthClient(alice.email).log_in(decomposed).status_code == 200
    assert AuthClient(alice.email).log_in(composed).status_code == 200


def test_known_and_unknown_addresses_cost_the_same_hashes_in_every_form(alice, monkeypatch):
    from qa.testing.passwords import FastHasher

    hashes: list[str] = []
    encode = FastHasher.encode

    def counted(self, password, salt):
        hashes.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(FastHasher, "encode", counted)
    verify = FastHasher.verify
    monkeypatch.setattr(FastHasher, "verify", lambda *args: hashes.append(args[1]) or verify(*args))
    for typed in FORMS["Latin"]:
        counts = []
        for email in (alice.email, "unknown@example.com"):
            hashes.clear()
            assert authenticate(None, username=email, password=typed) is None
            counts.append(len(hashes))
        assert counts[0] == counts[1], typed
