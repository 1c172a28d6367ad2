"""Clients of `/api/auth`."""

from __future__ import annotations

from typing import Any

from rest_framework.response import Response
from rest_framework.test import APIClient

PASSWORD = "correct horse battery"


class AuthClient:
    """A client of `/api/auth` that keeps its tokens, as a browser would."""

    def __init__(self, email: str, address: str = "192.0.2.10") -> None:
        self.email = email
        self.client = APIClient(REMOTE_ADDR=address)
        self.access: str | None = None
        self.refresh: str | None = None

    def log_in(self, password: str = PASSWORD) -> Response:
        response = self.post("login", {"email": self.email, "password": password})
        if response.status_code == 200:
            self.access, self.refresh = response.data["access"], response.data["refresh"]
        return response

    def get(self, path: str, **extra: Any) -> Response:
        return self._send("get", path, None, **extra)

    def post(self, path: str, body: Any = None, **extra: Any) -> Response:
        return self._send("post", path, body, **extra)

    def put(self, path: str, body: Any = None, **extra: Any) -> Response:
        return self._send("put", path, body, **extra)

    def patch(self, path: str, body: Any = None, **extra: Any) -> Response:
        return self._send("patch", path, body, **extra)

    def _send(self, method: str, path: str, body: Any, **extra: Any) -> Response:
        if self.access:
            extra = {"HTTP_AUTHORIZATION": f"Bearer {self.access}", **extra}
        response: Response = getattr(self.client, method)(f"/api/auth/{path}", body, format="json", **extra)
        return response

    def is_signed_in(self) -> bool:
        return self.get("profile").status_code == 200


def problem_fields(response: Response) -> dict[str, list[str]]:
    """Return the codes of a 400 by field."""
    assert response.status_code == 400, response.data
    fields: dict[str, list[str]] = {}
    for error in response.data["errors"]:
        fields.setdefault(error["field"], []).append(error["code"])
    return fields
