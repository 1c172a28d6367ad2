"""The time limit of clients that do not read what they are sent.

Neither hyper nor granian has one (granian 2.8): such a connection would stay open for as long as its client
likes. Linux has TCP_USER_TIMEOUT, which accepted sockets take over from the listening one:
https://man7.org/linux/man-pages/man7/tcp.7.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def limit_unread_seconds(seconds: float) -> bool:
    """Have connections closed when their client acknowledges nothing for `seconds`.

    Applies to those that the listening sockets of this process accept from now on. Return whether there is
    such a socket; False also where the system has no such limit.
    """
    if not (hasattr(socket, "TCP_USER_TIMEOUT") and _DESCRIPTORS.is_dir()):
        return False
    found = False
    for name in os.listdir(_DESCRIPTORS):
        # The descriptor may be of no socket, or closed by now.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as candidate:
            if candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
                found = True
    return found
