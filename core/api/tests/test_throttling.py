"""Requests are counted in windows, at their edges too."""

from __future__ import annotations

from datetime import UTC, datetime

from django.test import RequestFactory

from core.api.throttling import counted

MINUTE = 1_700_000_040


class PassingClock:
    """A clock that is a second later each time that it is read."""

    def __init__(self, start: int) -> None:
        self._next = start

    def time(self) -> int:
        self._next += 1
        return self._next - 1


def test_a_request_during_which_a_window_ends_is_counted(db, settings, monkeypatch):
    settings.RATES = {"edge": "10/m", "default": "10/m"}
    request = RequestFactory().get("/")
    for second in range(60):
        monkeypatch.setattr("django_ratelimit.core.time", PassingClock(MINUTE + second))
        usage = counted(request, "edge", lambda *_, second=second: f"caller {second}")
        assert (usage.used, usage.limit) == (1, 10), second
        assert 0 <= usage.reset_seconds <= 60


def test_a_request_at_the_time_of_the_reset_is_counted_in_the_next_window(db, settings, time_machine):
    settings.RATES = {"edge": "1/m", "default": "1/m"}
    request = RequestFactory().get("/")
    for second in range(60):
        time_machine.move_to(datetime.fromtimestamp(MINUTE + second, UTC), tick=False)
        last = [counted(request, "edge", lambda *_, second=second: f"caller {second}") for _ in range(2)][1]
        time_machine.move_to(last.resets_at, tick=False)
        usage = counted(request, "edge", lambda *_, second=second: f"caller {second}")
        assert (last.used, usage.used) == (2, 1), second
