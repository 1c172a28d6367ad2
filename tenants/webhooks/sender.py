"""Sends one signed POST request: redirects are not followed, and a response ends after 10 seconds or 1 MiB.

The signature follows https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from standardwebhooks import Webhook as Signer

from tenants.webhooks.addresses import AddressNotPublic, public_addresses

TOTAL_SECONDS = 10.0
MAX_RESPONSE_BYTES = 1024 * 1024


class DeliveryFailed(Exception):
    """The receiver did not accept the request; `status` is that of its response, None without one."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


class Sender:
    """`resolve(host, port)` returns the addresses to try, `tls` the trusted certificates.

    `total_seconds` limits connection, request and response together.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[str, int], list[str]] = public_addresses,
        tls: ssl.SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._total_seconds = total_seconds

    def send(self, url: str, secret: str, message_id: str, body: str) -> int:
        """Return the status, 200 to 299. Raises DeliveryFailed."""
        parts = urlsplit(url)
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        try:
            with self._connection(parts.hostname or "", parts.port or 443) as connection:
                connection.request("POST", target, body.encode(), _headers(secret, message_id, body))
                response = connection.getresponse()
                is_too_large = len(response.read(MAX_RESPONSE_BYTES + 1)) > MAX_RESPONSE_BYTES
                if connection.timed_out:
                    raise TimeoutError
        except AddressNotPublic as error:
            raise DeliveryFailed(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryFailed(_problem(error)) from error
        if is_too_large:
            raise DeliveryFailed("The response is larger than 1 MiB.", response.status)
        if not 200 <= response.status < 300:
            raise DeliveryFailed(f"The response had status {response.status}.", response.status)
        return response.status

    def _connection(self, host: str, port: int) -> _Connection:
        return _Connection(host, port, self._resolve(host, port), self._tls, self._total_seconds)


def _headers(secret: str, message_id: str, body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "User-Agent": "chat-agent-platform",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(message_id, now, body),
    }


class _Connection(http.client.HTTPSConnection):
    """A connection to one of `addresses`, with the certificate of `host`, that is cut off after `seconds`.

    The timeout of a socket restarts with each byte: a receiver that sends one a second would never reach it.
    """

    def __init__(
        self, host: str, port: int, addresses: list[str], tls: ssl.SSLContext, seconds: float
    ) -> None:
        super().__init__(host, port, timeout=seconds, context=tls)
        self._addresses = addresses
        self._tls = tls
        self._seconds = seconds
        self._raw: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut_off)
        self.timed_out = False

    def __enter__(self) -> _Connection:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        self.close()
        if kind is not None and issubclass(kind, OSError | http.client.HTTPException) and self.timed_out:
            raise TimeoutError

    def connect(self) -> None:
        self._raw = self._connect_to_first()
        self.sock = self._tls.wrap_socket(self._raw, server_hostname=self.host)

    def _connect_to_first(self) -> socket.socket:
        """Return a connection to the first address that accepts one."""
        failure: OSError = OSError("no address")
        for address in self._addresses:
            if self.timed_out:
                raise TimeoutError
            try:
                return socket.create_connection((address, self.port), self._seconds / len(self._addresses))
            except OSError as error:
                failure = error
        raise failure

    def _cut_off(self) -> None:
        self.timed_out = True
        sock = self.sock or self._raw
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _problem(error: Exception) -> str:
    """Return a sentence for a failed connection. The error's own text may quote what the receiver sent."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"Its certificate is not trusted: {error.verify_message}."
        case ssl.SSLError():
            return "No TLS connection could be made."
        case TimeoutError():
            return "There was no complete response in time."
        case socket.gaierror():
            return "The host is not known."
        case ConnectionRefusedError():
            return "The connection was refused."
        case http.client.HTTPException():
            return "The response was not valid HTTP."
    return "The connection was interrupted."
