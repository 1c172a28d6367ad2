"""Whose address a request has, for every way a header can lie."""

from ipaddress import ip_network

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, override_settings

from config.environment import networks
from core.api.addresses import client_address, client_network

PROXY = "10.0.0.7"
CLIENT = "192.0.2.1"
TRUSTED = override_settings(TRUSTED_PROXIES=[ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")])


def address(remote, forwarded=None):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))


@TRUSTED
def test_without_a_proxy_the_socket_says_it():
    assert address(CLIENT) == CLIENT


@TRUSTED
def test_a_stranger_can_not_choose_its_address():
    assert address(CLIENT, "198.51.100.9") == CLIENT


@override_settings(TRUSTED_PROXIES=[])
def test_no_proxy_is_trusted_unless_named():
    assert address(PROXY, CLIENT) == PROXY


@TRUSTED
def test_a_trusted_proxy_names_the_client():
    assert address(PROXY, CLIENT) == CLIENT


@TRUSTED
def test_only_the_hop_that_the_proxy_added_counts():
    assert address(PROXY, f"198.51.100.9, {CLIENT}") == CLIENT


@TRUSTED
def test_trusted_hops_are_passed_over():
    assert address(PROXY, f"198.51.100.9, {CLIENT}, 10.0.0.8, 10.0.0.9") == CLIENT


@TRUSTED
def test_a_chain_of_proxies_alone_ends_at_the_first():
    assert address(PROXY, "10.0.0.5, 10.0.0.6") == "10.0.0.5"


@TRUSTED
@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("192.0.2.1:50123", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_every_way_to_write_an_address_is_read(hop, expected):
    assert address(PROXY, hop) == expected


@TRUSTED
@pytest.mark.parametrize(
    "header",
    ["", ",", " , ,", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "[", "[]", ":", "::::", "\x00", "é" * 9000],
)
def test_a_malformed_header_leaves_the_proxy_as_client(header):
    assert address(PROXY, header) == PROXY


@TRUSTED
def test_nothing_left_of_a_malformed_hop_is_believed():
    assert address(PROXY, f"{CLIENT}, unknown, 10.0.0.8") == "10.0.0.8"


def test_a_socket_without_address_is_told_apart_from_any_address():
    assert address("") == ""
    assert address("unix:") == ""


def test_one_ipv6_client_is_counted_by_its_network():
    request = RequestFactory().get("/", REMOTE_ADDR="2001:db8:1:2:3:4:5:6")
    assert client_network(request) == "2001:db8:1:2::/64"
    assert client_network(RequestFactory().get("/", REMOTE_ADDR=CLIENT)) == CLIENT


def test_a_wrong_proxy_stops_the_start_and_is_named():
    with pytest.raises(ImproperlyConfigured, match=r"TRUSTED_PROXIES.*10\.0\.0\.0/99"):
        networks("TRUSTED_PROXIES", ["10.0.0.0/8", "10.0.0.0/99"])
