"""The address of a request, for every form of a forged or malformed header."""

import re
from ipaddress import ip_network

import pytest
from django.test import RequestFactory, override_settings

from config.web_settings import proxies
from core.api.addresses import client_address, client_network

PROXY = "10.0.0.7"
CLIENT = "192.0.2.1"
TRUSTED = override_settings(TRUSTED_PROXIES=[ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")])


def address(remote, forwarded=None):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))


@TRUSTED
def test_without_a_proxy_the_address_is_the_sockets():
    assert address(CLIENT) == CLIENT


@TRUSTED
def test_an_untrusted_client_cannot_set_its_address():
    assert address(CLIENT, "198.51.100.9") == CLIENT


@override_settings(TRUSTED_PROXIES=[])
def test_no_proxy_is_trusted_by_default():
    assert address(PROXY, CLIENT) == PROXY


@TRUSTED
def test_a_trusted_proxy_forwards_the_clients_address():
    assert address(PROXY, CLIENT) == CLIENT


@TRUSTED
def test_only_the_hop_that_the_proxy_added_counts():
    assert address(PROXY, f"198.51.100.9, {CLIENT}") == CLIENT


@TRUSTED
def test_trusted_hops_are_skipped():
    assert address(PROXY, f"198.51.100.9, {CLIENT}, 10.0.0.8, 10.0.0.9") == CLIENT


@TRUSTED
def test_the_first_of_a_chain_of_only_trusted_proxies_is_the_client():
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
def test_every_notation_of_an_address_is_parsed(hop, expected):
    assert address(PROXY, hop) == expected


@TRUSTED
@pytest.mark.parametrize(
    "header",
    ["", ",", " , ,", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "[", "[]", ":", "::::", "\x00", "é" * 9000],
)
def test_a_malformed_header_leaves_the_proxy_as_client(header):
    assert address(PROXY, header) == PROXY


@TRUSTED
def test_hops_left_of_a_malformed_one_are_ignored():
    assert address(PROXY, f"{CLIENT}, unknown, 10.0.0.8") == "10.0.0.8"


def test_a_socket_without_an_address_gives_an_empty_string():
    assert address("") == ""
    assert address("unix:") == ""


def test_one_ipv6_client_is_counted_by_its_network():
    request = RequestFactory().get("/", REMOTE_ADDR="2001:db8:1:2:3:4:5:6")
    assert client_network(request) == "2001:db8:1:2::/64"
    assert client_network(RequestFactory().get("/", REMOTE_ADDR=CLIENT)) == CLIENT


def test_a_malformed_proxy_is_an_error_that_names_it():
    problems: list[str] = []
    assert proxies(["10.0.0.0/8", "10.0.0.0/99"], problems) == [ip_network("10.0.0.0/8")]
    assert re.search(r"TRUSTED_PROXIES.*10\.0\.0\.0/99", problems[0])


def test_a_server_without_proxies_says_so():
    problems: list[str] = []
    assert proxies(["none"], problems) == proxies([], problems) == []
    assert problems == []
