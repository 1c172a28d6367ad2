"""HTTP to a provider: pooled connections with a wall-clock deadline, which any thread can stop.

`requests` has a timeout per read only, which every keep-alive byte renews, and no way to
wake a thread that waits for headers. The connections made here read through
`_DeadlineReader`, which before each read sets the socket's timeout to the time left, and
register their socket with the call's `CallDeadline`, which shuts it down when the call is
stopped. Redirects are never followed, cookies never kept, and the environment's proxies and
netrc never read, so that a key reaches only the configured host.

The hooks used (`ConnectionCls`, `response_class`, `_new_conn`) belong to urllib3 2.x and
http.client; the tests of the wire fail if one of them changes.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, cast

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from llm.providers.stream import Idle, ResponseBody


class DeadlineExceeded(Exception):
    """The call's time is up."""


class Stopped(Exception):
    """The call was stopped by its owner."""


class CallDeadline:
    """Limits one request in time, and lets any thread stop it.

    `expires_at` is in `time.monotonic` seconds and may be moved during the call. At `idle_at`, if that is
    earlier, reading the body pauses.
    """

    def __init__(self, *, connect_seconds: float, expires_at: float) -> None:
        self.connect_seconds = connect_seconds
        self.expires_at = expires_at
        self.idle_at = float("inf")
        self.stopped = False
        #: A whole request has been written. One that was stopped before reached no provider.
        self.request_sent = False
        self.response: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        # Held from the start and released by `stop`: waiting for it is a pause that `stop` ends.
        self._until_stopped = threading.Lock()
        self._until_stopped.acquire()

    def remaining_seconds(self) -> float:
        """Return the time left. Raises DeadlineExceeded instead of returning 0, or Stopped."""
        if self.stopped:
            raise Stopped
        seconds = self.expires_at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded
        return seconds

    def readable_seconds(self) -> float:
        """Return how long a read may wait. Raises as `remaining_seconds` does, and Idle."""
        seconds = self.remaining_seconds()
        if self.idle_at < self.expires_at:
            seconds = min(seconds, self.idle_at - time.monotonic())
            if seconds <= 0:
                raise Idle
        return seconds

    def pause(self, seconds: float) -> None:
        """Wait, or return at once when the call is stopped."""
        if self._until_stopped.acquire(timeout=seconds):
            self._until_stopped.release()

    def watch(self, sock: socket.socket | None) -> None:
        """Make `sock` the socket that `stop` shuts down; None once it is back in its pool."""
        with self._lock:
            self._socket = sock
            if self.stopped and sock is not None:
                _shut_down(sock)

    def stop(self) -> None:
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
            if self._socket is not None:
                _shut_down(self._socket)
        self._until_stopped.release()


def _shut_down(sock: socket.socket) -> None:
    # The plain socket's method: SSLSocket's would remove the TLS object while another thread reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Transport:
    """The pooled connections of one provider to one host.

    `trusted_certificates` is a file of certificates to trust instead of certifi's.
    """

    def __init__(self, *, pool_size: int, trusted_certificates: str | None = None) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        adapter = _Adapter(pool_size, trusted_certificates)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(
        self,
        deadline: CallDeadline,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> ResponseBody:
        """Return the response as soon as its headers have arrived, whatever its status.

        Raises DeadlineExceeded, Stopped, or what requests raises.
        """
        # The adapter is called directly: Session.send adds redirects, cookies and hooks, none of them
        # wanted, and half the CPU time of a call.
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, url, body
        prepared.headers = CaseInsensitiveDict(headers)
        if body is not None:
            prepared.headers["Content-Length"] = str(len(body))
        timeout = (min(deadline.connect_seconds, deadline.remaining_seconds()), deadline.remaining_seconds())
        _sending.deadline = deadline
        try:
            response = self._session.get_adapter(url).send(prepared, stream=True, timeout=timeout)
        except Exception:
            deadline.remaining_seconds()  # If the call was stopped or its time is up, that is the reason.
            raise
        finally:
            del _sending.deadline
        return ResponseBody(response, deadline.response, on_end=functools.partial(deadline.watch, None))


class _Sending(threading.local):
    """The deadline of the call that this thread is sending, for the connection that the pool picks."""

    deadline: CallDeadline


_sending = _Sending()


class _Adapter(HTTPAdapter):
    def __init__(self, pool_size: int, trusted_certificates: str | None) -> None:
        self._trusted_certificates = trusted_certificates or DEFAULT_CA_BUNDLE_PATH
        super().__init__(pool_connections=4, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            tls["ssl_context"] = _tls_context(self._trusted_certificates)
        return host, tls

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context has the certificates."""


@functools.cache
def _tls_context(trusted_certificates: str) -> ssl.SSLContext:
    # One for all connections: loading the certificates takes longer than a handshake.
    return ssl.create_default_context(cafile=trusted_certificates)


class _Response(http.client.HTTPResponse):
    """Reads status line, headers and body against the call's deadline."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        deadline = _sending.deadline
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))
        deadline.response = self


class _Connection(HTTPConnection):
    """A connection that registers its socket with the deadline of the call being sent."""

    response_class = _Response

    def _new_conn(self) -> socket.socket:
        seconds = cast(float, self.timeout)  # `send` sets both timeouts
        return _connect(_sending.deadline, self._dns_host, self.port, seconds, self.socket_options)

    def connect(self) -> None:
        super().connect()
        _sending.deadline.watch(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _sending.deadline.watch(self.sock)
        super().request(*args, **kwargs)
        _sending.deadline.request_sent = True


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _connect(deadline: CallDeadline, host: str, port: int, seconds: float, options: Any) -> socket.socket:
    """Return a socket connected to the first address of `host` that answers, within `seconds` in all.

    The name lookup can be neither bounded nor stopped; connecting can.
    """
    connected_by = time.monotonic() + seconds
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for left, (family, kind, protocol, _, address) in zip(
        range(len(addresses), 0, -1), addresses, strict=True
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(max(0.001, (connected_by - time.monotonic()) / left))
            deadline.watch(sock)
            deadline.remaining_seconds()
            sock.connect(address)
            sock.settimeout(max(0.001, connected_by - time.monotonic()))
            return sock
        except OSError:
            sock.close()
            if left == 1:
                raise
        except BaseException:
            sock.close()
            raise
    raise socket.gaierror(f"{host} has no address")


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, each time with the time left as its timeout."""

    def __init__(self, sock: socket.socket, deadline: CallDeadline) -> None:
        self._sock = sock
        self._deadline = deadline
        # Keeps the socket open while the response is read. Reading bypasses it, because after one
        # timeout it would read no more.
        self._hold = sock.makefile("rb", buffering=0)
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error is not None:
            raise self._error
        self._sock.settimeout(self._deadline.readable_seconds())
        try:
            count = self._sock.recv_into(buffer)
        except TimeoutError:
            raise (Idle if self._deadline.idle_at < self._deadline.expires_at else DeadlineExceeded) from None
        except OSError:
            self._deadline.remaining_seconds()
            raise
        if self._deadline.stopped:
            raise Stopped
        if self._is_tls and count:
            count += self._more_records(memoryview(buffer)[count:])
        return count

    def _more_records(self, buffer: memoryview) -> int:
        """Fill `buffer` with the TLS records that have arrived: one read returns one record, a token."""
        self._sock.settimeout(0)
        count = 0
        try:
            while count < len(buffer):
                read = self._sock.recv_into(buffer[count:])
                if not read:
                    break
                count += read
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError as error:
            self._error = error
        return count

    def close(self) -> None:
        self._hold.close()
        super().close()
