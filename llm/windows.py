"""How many tokens a target takes, and as much of a request's history as fits.

A window is known from the catalogue, from what a target has refused, or from its provider's list of models,
which is read when a target of unknown window has refused a request for its length.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from dataclasses import replace

from llm import errors, token_estimate
from llm.canonical import Request, Target
from llm.catalogue import catalogue
from llm.providers.base import Limits, Provider
from llm.providers.length_wording import numbers, room_for_answer

#: Tokens kept free for an answer whose length is not limited.
ANSWER_TOKENS = 1024

#: A smaller number in a refusal is no window.
_MIN_WINDOW = 1024

#: What is learned counts for so long, in this process.
_LEARNED_SECONDS = 3600.0
_MAX_LEARNED = 4096

#: After a refusal that names no limit half of the request is tried; after one that names a limit which our
#: estimate already kept, a part less.
_WITHOUT_LIMIT, _BELOW_ESTIMATE = 0.5, 0.8

_LISTING = Limits(connect_seconds=2, total_seconds=3)


class Windows:
    """What this process has learned, thread-safe. Each origin (a tenant) learns for itself.

    So no origin can make the windows of others smaller, whatever it makes a provider refuse.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learned: OrderedDict[tuple[Target, str], tuple[int, float]] = OrderedDict()
        self._listed: dict[str, tuple[dict[str, int], float]] = {}

    def get(self, target: Target, origin: str = "") -> int | None:
        """Return the window of `target` in tokens; None if it is not known."""
        with self._lock:
            learned, until = self._learned.get((target, origin), (None, 0.0))
            listed, listed_until = self._listed.get(target.provider, ({}, 0.0))
        now = time.monotonic()
        stated = catalogue().get(target).context_window
        if stated is None and now < listed_until:
            stated = listed.get(target.model)
        if learned is None or now >= until:
            return stated
        return learned if stated is None else min(learned, stated)

    def learn(
        self,
        target: Target,
        request: Request,
        error: errors.ContextTooLong,
        *,
        origin: str = "",
        provider: Provider | None = None,
    ) -> int:
        """Take from the refusal of `request` how much `target` takes, by our estimate, and return it.

        That is always less than the request, so that what fits then differs from it.
        """
        estimated = token_estimate.request_tokens(request) + answer_room(request)
        limit, sent = _limit_in(error.detail, token_estimate.most_tokens(request) + answer_room(request))
        if limit is None and provider is not None and self.get(target, origin) is None:
            limit = self._listed_window(target, provider)
        if limit is None:
            window = _window_for(request, _WITHOUT_LIMIT)
        else:
            if sent and sent > estimated:  # Its tokens are smaller than ours.
                limit = round(limit * estimated / sent)
            window = limit
        window = min(window, _window_for(request, _BELOW_ESTIMATE))
        with self._lock:
            self._learned[target, origin] = round(window), time.monotonic() + _LEARNED_SECONDS
            self._learned.move_to_end((target, origin))
            if len(self._learned) > _MAX_LEARNED:
                self._learned.popitem(last=False)
        return round(window)

    def _listed_window(self, target: Target, provider: Provider) -> int | None:
        """Return the window that the provider lists for the model; it is asked at most once an hour."""
        with self._lock:
            listed, until = self._listed.get(provider.name, ({}, 0.0))
        if time.monotonic() >= until:
            listed = {}
            with contextlib.suppress(errors.ProviderError):
                for model in provider.models(_LISTING):
                    if model.context_window and model.context_window >= _MIN_WINDOW:
                        listed[model.id] = model.context_window
            with self._lock:
                self._listed[provider.name] = listed, time.monotonic() + _LEARNED_SECONDS
        return listed.get(target.model)


#: What this process has learned. Each worker learns for itself, so that no call waits for shared state.
WINDOWS = Windows()


def with_fitting_history(request: Request, window: int | None) -> Request:
    """Return `request` with as much of its history, the newest, as fits into `window` tokens with the answer.

    What is not history is never left out. A history does not begin with an answer, whose question is gone.
    """
    if window is None or not request.history:
        return request
    room = window - answer_room(request, window)
    if token_estimate.most_tokens(request) <= room:
        return request
    history, kept = request.messages[: request.history], request.messages[request.history :]
    room -= token_estimate.request_tokens(replace(request, messages=kept))
    begin = len(history)
    while begin and (room := room - token_estimate.message_tokens(history[begin - 1])) >= 0:
        begin -= 1
    while begin < len(history) and history[begin].role == "assistant":
        begin += 1
    count = len(history) - begin
    note = f"Of the history the newest {count} messages were sent: the model takes {window} tokens."
    notes = [each for each in request.notes if not each.startswith("Of the history ")]
    return replace(
        request,
        messages=(*history[begin:], *kept),
        history=count,
        notes=(*notes, note),
    )


def answer_room(request: Request, window: int | None = None) -> int:
    """Return the tokens to keep free for the answer: of the window at most half, a quarter without limit."""
    room, part = (ANSWER_TOKENS, 4) if request.max_tokens is None else (request.max_tokens, 2)
    return room if window is None else min(room, window // part)


def _window_for(request: Request, part: float) -> float:
    """Return the largest window into which only that part of `request` would fit, beside its answer."""
    fits = token_estimate.request_tokens(request) * part
    return min(fits + answer_room(request), fits * (4 / 3 if request.max_tokens is None else 2))


def _limit_in(message: str, most: int) -> tuple[int | None, int | None]:
    """Return (the limit, the tokens sent) that a refusal names; None for what it does not.

    `most` are the most tokens that the request can have: a larger number is not the limit that it exceeded.
    """
    limit, room = room_for_answer(message)
    if limit is None:
        limit = min((n for n in numbers(message) if n >= _MIN_WINDOW), default=None)
    if limit is None or not _MIN_WINDOW <= limit < most:
        return None, None
    return limit, None if room is None else limit - room
