"""Visitors of the same name: in two tenants, and by two keys."""

from __future__ import annotations

from collections.abc import Iterator

from qa.isolation.callers import BEARER, Caller, Kind
from qa.isolation.matrix import Matrix
from qa.isolation.probes.registry import has_status, probe

_NAME = "a visitor of both"


@probe
def visitors_of_one_name_in_two_tenants_are_two(matrix: Matrix) -> Iterator[str]:
    """Each has sessions and tokens of its own, and the end of one is not that of the other."""
    acme, umbrella = matrix.dataset.acme, matrix.dataset.umbrella
    tokens = {}
    for fixtures, key in ((acme, "sk"), (umbrella, "sk of another tenant")):
        path = f"/api/chat/tenants/{fixtures.tenant.pk}/visitor-tokens"
        given = matrix.request("POST", path, matrix.dataset[key], body={"visitor": _NAME})
        yield from has_status(given, 201, f"a token by {key}")
        token = given.json()["visitor_token"]
        tokens[key] = Caller("visitor", Kind.VISITOR, credential=token)
    opened = matrix.request("POST", "/api/chat/sessions", tokens["sk"], BEARER, {})
    yield from has_status(opened, 201, "a session of Acme's")
    path = f"/api/chat/sessions/{opened.json()['id']}"
    for key, expected in (("sk", 200), ("sk of another tenant", 404)):
        answer = matrix.request("GET", path, tokens[key], BEARER)
        yield from has_status(answer, expected, f"Acme's session by the visitor of {key}")
    revoking = f"/api/chat/tenants/{acme.tenant.pk}/visitor-tokens/{_NAME}"
    yield from has_status(matrix.request("DELETE", revoking, matrix.dataset["sk"]), 204, "its end")
    for key, expected in (("sk", 401), ("sk of another tenant", 200)):
        answer = matrix.request("GET", "/api/chat/visitor/sessions", tokens[key], BEARER)
        yield from has_status(answer, expected, f"its own sessions by the visitor of {key}")
