"""Authentication by X-API-Key: valid keys, and the response to every other one."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from qa.testing.tenants import by, issue, problem, signed_in, with_key
from qa.testing.waiting import wait_until
from tenants.authentication import ApiKeyAuthentication, BearerKeyAuthentication
from tenants.models import ApiKey, key_secret

SHOP = "https://shop.example"


def usage(tenant) -> str:
    return f"/api/tenants/{tenant.pk}/usage"


def authenticate(secret: str, authentication=ApiKeyAuthentication, **headers):
    request = Request(APIRequestFactory().get("/", **{"HTTP_X_API_KEY": secret, **headers}))
    return authentication().authenticate(request)


def test_a_valid_key_is_accepted(acme, secret_key):
    assert with_key(secret_key.secret).get(usage(acme)).status_code == 200


def test_every_kind_of_invalid_key_gets_the_same_401(alice, acme, secret_key):
    expired = issue(acme, alice, expires_at=timezone.now() - timedelta(seconds=1)).secret
    revoked = issue(acme, alice)
    revoked.key.revoke(by(alice))
    unknown = key_secret.generate("sk", "live")
    wrong_checksum = secret_key.secret[:-1] + ("0" if secret_key.secret[-1] != "0" else "1")
    problems = []
    for secret in (
        expired,
        revoked.secret,
        unknown,
        wrong_checksum,
        "",
        "nonsense",
        "cap_sk_live_",
        "é" * 50,
    ):
        response = with_key(secret).get(usage(acme), HTTP_X_REQUEST_ID="same-request-id")
        assert problem(response, 401) == "api_key_invalid"
        assert response["WWW-Authenticate"]
        problems.append(response.json())

    assert all(each == problems[0] for each in problems)


def test_a_key_with_the_right_prefix_and_a_wrong_rest_is_refused(acme, secret_key):
    body = secret_key.secret[:20] + "0" * 24
    forged = body + key_secret._checksum(body)

    assert key_secret.is_well_formed(forged)
    assert ApiKey.objects.find_by_secret(forged) is None


def test_a_wrong_checksum_costs_no_query():
    """Without the `db` fixture any query is an error, as the second half shows."""
    good = key_secret.generate("sk", "live")
    for bad in (good[:-1], good + "0", good[:-1] + ("0" if good[-1] != "0" else "1"), good.lower(), "x"):
        with pytest.raises(AuthenticationFailed):
            authenticate(bad)

    with pytest.raises(RuntimeError, match="Database access not allowed"):
        authenticate(good)


def test_ten_thousand_keys_are_well_formed_and_distinct():
    keys = {key_secret.generate("pk", "test") for _ in range(10_000)}

    assert len(keys) == 10_000
    assert all(key_secret.is_well_formed(key) for key in keys)


def test_another_tenant_is_not_found(secret_key, acme, umbrella):
    problem(with_key(secret_key.secret).get(usage(umbrella)), 404)


def test_a_key_is_limited_to_its_scopes(alice, acme):
    sender = issue(acme, alice, scopes=["messages:send"]).secret

    assert problem(with_key(sender).get(usage(acme)), 403) == "permission_denied"


def test_a_key_can_read_the_tenant_but_not_change_it(secret_key, acme):
    client = with_key(secret_key.secret)

    assert client.get(f"/api/tenants/{acme.pk}").data["role"] is None
    for response in (
        client.put(f"/api/tenants/{acme.pk}", {"name": "Mine"}),
        client.delete(f"/api/tenants/{acme.pk}"),
        client.get(f"/api/tenants/{acme.pk}/members"),
        client.get(f"/api/tenants/{acme.pk}/audit"),
    ):
        assert problem(response, 403) == "permission_denied"


def test_a_key_cannot_list_tenants(secret_key):
    problem(with_key(secret_key.secret).get("/api/tenants"), 401)


def test_a_secret_key_in_a_browser_is_refused(acme, secret_key):
    response = with_key(secret_key.secret, HTTP_ORIGIN=SHOP).get(usage(acme))

    assert problem(response, 403) == "secret_key_in_browser"


@pytest.mark.parametrize("origin", ["null", "app://obsidian.md", "tauri://localhost", "file://", SHOP])
def test_a_secret_key_that_allows_browsers_is_accepted_from_any_origin(acme, alice, origin):
    key = issue(acme, alice, scopes=["usage:read"], allow_browser=True)

    assert with_key(key.secret, HTTP_ORIGIN=origin).get(usage(acme)).status_code == 200
    assert with_key(key.secret).get(usage(acme)).status_code == 200


def test_a_secret_key_that_allows_browsers_has_its_own_list_of_origins(acme, alice):
    acme.update(allowed_origins=["https://other.example"])
    key = issue(acme, alice, scopes=["usage:read"], allow_browser=True, allowed_origins=[SHOP])

    assert with_key(key.secret, HTTP_ORIGIN=SHOP).get(usage(acme)).status_code == 200
    for origin in ("null", "https://other.example"):
        response = with_key(key.secret, HTTP_ORIGIN=origin).get(usage(acme))
        assert problem(response, 403) == "secret_key_in_browser"


def test_origins_of_a_secret_key_alone_do_not_allow_browsers(acme, alice):
    key = issue(acme, alice, allowed_origins=["*", SHOP])
    response = with_key(key.secret, HTTP_ORIGIN=SHOP).get(usage(acme))

    assert problem(response, 403) == "secret_key_in_browser"


def test_a_key_of_the_time_before_it_could_allow_browsers_does_not(acme, secret_key):
    ApiKey.collection().update_one({"_id": secret_key.key.pk}, {"$unset": {"allow_browser": ""}})
    response = with_key(secret_key.secret, HTTP_ORIGIN=SHOP).get(usage(acme))

    assert problem(response, 403) == "secret_key_in_browser"


@pytest.mark.parametrize(
    "origin",
    [None, "", "null", "https://evil.example", "http://shop.example", f"{SHOP}.evil.example", f"{SHOP}:8443"],
)
def test_a_public_key_is_refused_from_other_origins(acme, public_key, origin):
    headers = {} if origin is None else {"HTTP_ORIGIN": origin}

    assert problem(with_key(public_key.secret, **headers).get(usage(acme)), 403) == "origin_not_allowed"


def test_a_public_key_cannot_read_even_from_its_origin(acme, public_key):
    client = with_key(public_key.secret, HTTP_ORIGIN=SHOP)

    assert authenticate(public_key.secret, HTTP_ORIGIN=SHOP) is not None
    assert problem(client.get(usage(acme)), 403) == "permission_denied"


@pytest.mark.parametrize(
    ("allowed", "origin", "passes"),
    [
        (["https://*.shop.example"], "https://www.shop.example", True),
        (["https://*.shop.example"], "https://a.b.shop.example", True),
        (["https://*.shop.example"], "https://shop.example", False),
        (["https://*.shop.example"], "https://evilshop.example", False),
        (["https://shop.example:8443"], "https://shop.example:8443", True),
        (["https://shop.example"], "https://SHOP.example", True),
        (["*"], "https://anything.example", True),
        (["*"], "null", False),
        (["*"], "https://*.example", False),
    ],
)
def test_origins_may_be_patterns(alice, acme, allowed, origin, passes):
    key = issue(acme, alice, kind="pk", allowed_origins=allowed).key

    assert key.allows_origin(origin) is passes


def test_a_key_without_origins_uses_those_of_its_tenant(alice, acme):
    acme.change(by(alice), allowed_origins=[SHOP])
    key = issue(acme, alice, kind="pk").key

    assert key.allows_origin(SHOP)
    assert not key.allows_origin("https://other.example")


def test_a_public_test_key_also_works_on_localhost(alice, acme):
    test, live = (issue(acme, alice, kind="pk", environment=name).key for name in ("test", "live"))

    assert test.allows_origin("http://localhost:5173")
    assert not live.allows_origin("http://localhost:5173")
    assert not test.allows_origin("https://localhost.evil.example")


def test_a_key_can_be_restricted_to_networks(alice, acme):
    secret = issue(
        acme, alice, scopes=["usage:read"], allowed_networks=["192.0.2.0/24", "2001:db8::/32"]
    ).secret

    for address, status in (
        ("192.0.2.7", 200),
        ("2001:db8::7", 200),
        ("198.51.100.1", 403),
        ("2001:db9::1", 403),
    ):
        response = with_key(secret, REMOTE_ADDR=address).get(usage(acme))
        assert response.status_code == status, address
    assert response.json()["code"] == "network_not_allowed"


def test_keys_of_a_suspended_tenant_are_refused_with_a_reason(alice, acme, secret_key):
    acme.suspend(by(alice))
    assert problem(with_key(secret_key.secret).get(usage(acme)), 403) == "tenant_suspended"

    acme.resume(by(alice))
    assert with_key(secret_key.secret).get(usage(acme)).status_code == 200


def test_keys_of_a_deleted_tenant_are_refused_like_unknown_ones(alice, acme, secret_key):
    acme.soft_delete(by(alice))

    assert problem(with_key(secret_key.secret).get(usage(acme)), 401) == "api_key_invalid"


def test_use_is_recorded_at_most_once_a_minute(secret_key):
    key, start = secret_key.key, timezone.now()

    def use(seconds, address):
        ApiKey.objects.get(pk=key.pk).record_use(address, SHOP, start + timedelta(seconds=seconds))

    use(0, "192.0.2.1")
    wait_until(lambda: ApiKey.objects.get(pk=key.pk).last_used_address == "192.0.2.1", "the use is stored")
    use(59, "192.0.2.2")
    use(60, "192.0.2.3")
    wait_until(lambda: ApiKey.objects.get(pk=key.pk).last_used_address != "192.0.2.1", "the use is stored")

    last = ApiKey.objects.get(pk=key.pk)
    assert (last.last_used_address, last.last_used_origin) == ("192.0.2.3", SHOP)


def test_bearer_authentication_reads_the_authorization_header(secret_key, acme):
    def bearer(value):
        request = Request(APIRequestFactory().get("/", HTTP_AUTHORIZATION=value))
        return BearerKeyAuthentication().authenticate(request)

    user, caller = bearer(f"Bearer {secret_key.secret}")
    assert user.is_anonymous
    assert caller.access.tenant == acme
    assert caller.access.tenant.plan.code == "pro"
    assert bearer("Basic eDp5") is None
    with pytest.raises(AuthenticationFailed):
        bearer("Bearer nonsense")


def test_public_keys_are_counted_by_network_and_secret_keys_by_key(alice, acme, secret_key, public_key):
    def counted(secret, address, **headers):
        return authenticate(secret, REMOTE_ADDR=address, **headers)[1].rate_key

    shop = {"HTTP_ORIGIN": SHOP}
    assert counted(public_key.secret, "192.0.2.1", **shop) != counted(public_key.secret, "192.0.2.2", **shop)
    assert counted(secret_key.secret, "192.0.2.1") == counted(secret_key.secret, "192.0.2.2")


def test_no_response_or_log_line_contains_the_secret(acme, secret_key, caplog):
    with caplog.at_level("DEBUG"):
        good = with_key(secret_key.secret).get(usage(acme))
        bad = with_key(secret_key.secret, HTTP_ORIGIN=SHOP).get(usage(acme))

    for text in (caplog.text, good.content.decode(), bad.content.decode(), repr(secret_key.key)):
        assert secret_key.secret[20:] not in text


def test_a_token_takes_precedence_over_a_key(alice, acme, secret_key):
    response = signed_in(alice).get(f"/api/tenants/{acme.pk}", HTTP_X_API_KEY=secret_key.secret)

    assert response.data["role"] == "admin"
