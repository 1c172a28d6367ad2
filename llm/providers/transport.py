"""HTTP to a provider: pooled connections that obey a wall clock and can be stopped from any thread.

`requests` knows only a timeout per read, which every keep-alive byte renews, and
it offers no way to wake a thread that waits for headers. So the connections made
here read through `_ClockedSocket`, which before each read sets the socket's
timeout to what is left of the call's time, and tell the call which socket to shut
down when it is stopped. Redirects are never followed, cookies never kept, and the
environment's proxies and netrc never read: a key reaches no host but the
configured one.

The hooks used (`ConnectionCls`, `response_class`, `_new_conn`) belong to urllib3
2.x and http.client; the tests of the wire fail if one of them goes away.
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

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from llm.providers.body import Body


class Expired(Exception):
    """The call's time is over."""


class Stopped(Exception):
    """The call was stopped by its owner."""


class Call:
    """One request in flight, as seen by those who time it or stop it.

    `deadline` is in `time.monotonic` seconds and may be moved while the call runs.
    """

    def __init__(self, *, connect_seconds: float, deadline: float) -> None:
        self.connect_seconds = connect_seconds
        self.deadline = deadline
        self.stopped = False
        #: Whether a whole request has left. One that was stopped before has reached nobody.
        self.sent = False
        self.body_source: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        # Held from the start and released by `stop`: waiting for it is a rest that `stop` cuts short.
        self._rest = threading.Lock()
        self._rest.acquire()

    def remaining_seconds(self) -> float:
        """Return what is left until the deadline. Raises Expired or Stopped instead of 0."""
        if self.stopped:
            raise Stopped
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise Expired
        return seconds

    def rest(self, seconds: float) -> None:
        if self._rest.acquire(timeout=seconds):
            self._rest.release()

    def watch(self, sock: socket.socket | None) -> None:
        """Make `sock` the one that `stop` shuts down; None once it belongs to the pool again."""
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
        self._rest.release()


def _shut_down(sock: socket.socket) -> None:
    # The plain socket's method: SSLSocket's would pull the TLS object from under the reader.
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
        self, call: Call, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Body:
        """Return the answer as soon as its headers are there, whatever its status.

        Raises Expired, Stopped, or what requests raises.
        """
        # The adapter is called directly: Session.send adds redirects, cookies and hooks, none of them
        # wanted, and half the CPU time of a call.
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, url, body
        prepared.headers = requests.structures.CaseInsensitiveDict(headers)
        if body is not None:
            prepared.headers["Content-Length"] = str(len(body))
        timeout = (min(call.connect_seconds, call.remaining_seconds()), call.remaining_seconds())
        _calling.call = call
        try:
            response = self._session.get_adapter(url).send(prepared, stream=True, timeout=timeout)
        except Exception:
            call.remaining_seconds()  # If the call was stopped or its time is over, that is the reason.
            raise
        finally:
            _calling.call = None
        return Body(response, call.body_source, on_end=functools.partial(call.watch, None))


#: The call that this thread is sending, for the connection that the pool will choose.
_calling = threading.local()


class _Adapter(HTTPAdapter):
    def __init__(self, pool_size: int, trusted_certificates: str | None) -> None:
        self._trusted_certificates = trusted_certificates or requests.certs.where()
        super().__init__(pool_connections=4, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args, **kwargs) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def build_connection_pool_key_attributes(self, request, verify, cert=None):
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            tls["ssl_context"] = _tls_context(self._trusted_certificates)
        return host, tls

    def cert_verify(self, conn, url, verify, cert) -> None:
        """Nothing is left to do: the context holds the certificates."""


@functools.cache
def _tls_context(trusted_certificates: str) -> ssl.SSLContext:
    # One for all connections: loading the certificates takes longer than a handshake.
    return ssl.create_default_context(cafile=trusted_certificates)


class _Clocked:
    """Mixed into a urllib3 connection: works for the call that its thread is sending."""

    def _new_conn(self) -> socket.socket:
        return _connect(_calling.call, self._dns_host, self.port, self.timeout, self.socket_options)

    def connect(self) -> None:
        super().connect()
        _calling.call.watch(self.sock)

    def request(self, *args, **kwargs) -> None:
        if self.sock is not None:
            _calling.call.watch(self.sock)
        super().request(*args, **kwargs)
        _calling.call.sent = True

    def getresponse(self):
        self.response_class = functools.partial(_Response, call=_calling.call)
        return super().getresponse()


class _Connection(_Clocked, HTTPConnection):
    pass


class _TLSConnection(_Clocked, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _connect(call: Call, host: str, port: int, seconds: float, options: list | None) -> socket.socket:
    """Return a socket connected to the first address of `host` that answers, within `seconds` in all.

    Looking the name up cannot be bounded or stopped, connecting can.
    """
    deadline = time.monotonic() + seconds
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for left, (family, kind, protocol, _, address) in zip(
        range(len(addresses), 0, -1), addresses, strict=True
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(max(0.001, (deadline - time.monotonic()) / left))
            call.watch(sock)
            call.remaining_seconds()
            sock.connect(address)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            return sock
        except OSError:
            sock.close()
            if left == 1:
                raise
        except BaseException:
            sock.close()
            raise
    raise socket.gaierror(f"{host} has no address")


class _Response(http.client.HTTPResponse):
    """An answer whose status line, headers and body are all read against the call's clock."""

    def __init__(self, sock: socket.socket, *args, call: Call, **kwargs) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_ClockedSocket(sock, call))
        call.body_source = self


class _ClockedSocket(io.RawIOBase):
    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._sock = sock
        self._call = call
        # Keeps the socket open for as long as the answer is read, and refuses nothing else: reading
        # goes past it, because after one timeout it reads no more.
        self._hold = sock.makefile("rb", buffering=0)
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if self._error is not None:
            raise self._error
        self._sock.settimeout(self._call.remaining_seconds())
        try:
            count = self._sock.recv_into(buffer)
        except TimeoutError:
            raise Expired from None
        except OSError:
            self._call.remaining_seconds()
            raise
        if self._call.stopped:
            raise Stopped
        if self._is_tls and count:
            count += self._more_records(memoryview(buffer)[count:])
        return count

    def _more_records(self, buffer: memoryview) -> int:
        """Fill `buffer` from the TLS records that have arrived: one read gives one record, a token."""
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
