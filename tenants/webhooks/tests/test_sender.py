"""One request to a receiver: its signature, the address it goes to, its limits."""

from __future__ import annotations

import socket
import ssl
import threading
from ipaddress import ip_address

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tenants.webhooks import signing_secret
from tenants.webhooks.addresses import AddressNotPublic, is_public, public_addresses
from tenants.webhooks.sender import DeliveryFailed, Sender
from tenants.webhooks.tests.https_server import HOST, Receiver, answering

BODY = '{"type":"webhook.test","data":{"ü":1}}'


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    with Receiver(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture
def sender(receiver):
    receiver.received.clear()
    receiver.answers.clear()
    return Sender(resolve=loopback, tls=ssl.create_default_context(cafile=receiver.certificate))


def loopback(host: str, port: int) -> list[str]:
    assert host == HOST
    return ["127.0.0.1"]


def send(sender: Sender, receiver: Receiver, secret: str = "") -> int:
    return sender.send(receiver.url, secret or signing_secret.generate(), "msg_1", BODY)


def failure_of(sender: Sender, receiver: Receiver) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as raised:
        send(sender, receiver)
    return raised.value


def test_requests_have_a_standard_signature(sender, receiver):
    secret = signing_secret.generate()

    assert send(sender, receiver, secret) == 204

    ((headers, body),) = receiver.received
    assert body == BODY
    assert headers["Host"] == f"{HOST}:{receiver.port}"
    assert headers["Content-Type"] == "application/json"
    assert Verifier(secret).verify(body, headers)["type"] == "webhook.test"
    with pytest.raises(WebhookVerificationError):
        Verifier(signing_secret.generate()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(body + " ", headers)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(sender, receiver, status):
    receiver.answers = [answering(status, Location=receiver.url)]

    error = failure_of(sender, receiver)

    assert error.status == status
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [400, 410, 500, 503])
def test_every_status_except_2xx_is_a_failure(sender, receiver, status):
    receiver.answers = [answering(status, b"our secrets")]

    error = failure_of(sender, receiver)

    assert (error.status, str(error)) == (status, f"The response had status {status}.")


def test_a_response_has_at_most_one_mebibyte(sender, receiver):
    receiver.answers = [answering(200, b"x" * 1024 * 1024), answering(200, b"x" * (1024 * 1024 + 1))]

    assert send(sender, receiver) == 200
    assert "larger than 1 MiB" in str(failure_of(sender, receiver))


def test_a_slow_response_is_cut_off_at_the_time_limit(sender, receiver):
    trusted = ssl.create_default_context(cafile=receiver.certificate)
    impatient = Sender(resolve=loopback, tls=trusted, total_seconds=0.5)
    gone = threading.Event()

    def respond_slowly(handler) -> None:
        try:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            while not gone.wait(0.01):
                handler.wfile.write(b"x")
        except OSError:
            gone.set()

    receiver.answers = [respond_slowly]

    assert "in time" in str(failure_of(impatient, receiver))
    assert gone.wait(5)


def test_a_certificate_for_another_name_is_refused(receiver):
    elsewhere = Sender(
        resolve=lambda *_: ["127.0.0.1"], tls=ssl.create_default_context(cafile=receiver.certificate)
    )

    with pytest.raises(DeliveryFailed, match="certificate"):
        elsewhere.send(f"https://other.example:{receiver.port}/", signing_secret.generate(), "msg_1", BODY)


def test_a_self_signed_certificate_is_refused(receiver):
    with pytest.raises(DeliveryFailed, match="certificate"):
        send(Sender(resolve=loopback), receiver)


def test_the_host_is_resolved_once_and_the_connection_uses_that_address(sender, receiver):
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        """Return this machine first, and another one afterwards."""
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    once = Sender(resolve=rebinding, tls=ssl.create_default_context(cafile=receiver.certificate))

    assert send(once, receiver) == 204
    assert asked == [HOST]


def test_a_refused_connection_has_a_message_of_its_own(receiver):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://{HOST}:{unused.getsockname()[1]}/"
        with pytest.raises(DeliveryFailed, match=r"^The connection was refused\.$"):
            Sender(resolve=loopback).send(url, signing_secret.generate(), "msg_1", BODY)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0", "::1", "::ffff:127.0.0.1"],
)
def test_the_default_sender_never_connects_to_this_machine(receiver, host):
    receiver.received.clear()
    with pytest.raises(AddressNotPublic):
        public_addresses(host, receiver.port)

    shown = f"[{host}]" if ":" in host else host
    with pytest.raises(DeliveryFailed, match="not on the public internet"):
        Sender().send(f"https://{shown}:{receiver.port}/", signing_secret.generate(), "msg_1", BODY)
    assert receiver.received == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.8.8.8",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_other_addresses_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address):
    assert is_public(ip_address(address))
    assert public_addresses(address, 443) == [address]
