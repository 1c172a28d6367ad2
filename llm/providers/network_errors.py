"""Failures below HTTP, as provider errors."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from llm import errors
from llm.providers.stream import ProtocolError, Truncated

#: What a connection raises; the errors of `requests` are OSErrors too.
NETWORK_ERRORS = (OSError, http.client.HTTPException)


def network_error(error: Exception, label: str, facts: dict[str, Any]) -> errors.ProviderError:
    """Return the provider error for a lost connection, or for a response that is not HTTP."""
    causes = list(_causes(error))
    facts = facts | {"detail": str(error)[:500]}

    def is_due_to(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if is_due_to(Truncated):
        return errors.BadReply(f"{label} broke off its answer: the connection ended too early.", **facts)
    if is_due_to(ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
        return errors.Unreachable(f"{label} reset the connection.", **facts)
    if is_due_to(ProtocolError, http.client.HTTPException):
        return errors.BadReply(f"{label} sent an answer that cannot be read.", **facts)
    if is_due_to(ssl.SSLError):
        return errors.Unreachable(f"No trusted TLS connection to {label} could be made.", **facts)
    if is_due_to(socket.gaierror):
        return errors.Unreachable(f"The address of {label} was not found.", **facts)
    if is_due_to(ConnectionRefusedError):
        return errors.Unreachable(f"{label} refused the connection.", **facts)
    return errors.Unreachable(f"The connection to {label} failed.", **facts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and everything it wraps: requests and urllib3 keep causes in `args` and `reason` too."""
    seen, pending = set(), [error]
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        pending += [one for one in inner if isinstance(one, BaseException)]
