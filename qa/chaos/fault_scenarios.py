"""Every fault of a provider, with the attempts and the result that it must lead to.

Attempts are written as receipts: `1:overloaded 2:ok` means that the first target was called and
overloaded, then the second one answered. Nothing here is taken from the code under test.
"""

from __future__ import annotations

from qa.chaos import multi_run_scenarios
from qa.chaos.harness import ANSWER
from qa.chaos.invariants import (
    has_reason,
    is_complete,
    is_complete_or_failed,
    is_continued,
    keeps_partial,
    text_is,
    waits_between_retries,
)
from qa.chaos.scenario import FaultScenario, Scenario, backoffs, between_tokens, first_token, total

#: Tokens: enough to be continued, fewer than the whole answer.
CUT = "after-12"


def _thrice(outcome: str) -> str:
    return " ".join([f"1:{outcome}"] * 3)


#: Begins otherwise than `ANSWER`.
_OTHER = "Something else: " + ANSWER

SCENARIOS: tuple[FaultScenario | Scenario, ...] = (
    FaultScenario("nothing wrong", None, "1:ok", "1:ok", check=is_complete),
    # Error responses.
    FaultScenario(
        "429 once, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:ok",
        "1:rate_limit 1:ok",
        longest=lambda policy: policy.retry_after_seconds / 10,
        shortest=lambda policy: policy.retry_after_seconds / 10,
        times=1,
        check=is_complete,
    ),
    FaultScenario(
        "429 always, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:rate_limit 2:ok",
        "1:rate_limit 1:rate_limit",
        longest=lambda policy: policy.retry_after_seconds / 10,
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "429, Retry-After too long",
        "429-wait-{long}",
        "1:rate_limit 2:ok",
        "1:rate_limit",
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "429 without Retry-After",
        "429-bare",
        "1:rate_limit 2:ok",
        "1:rate_limit",
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "500 once",
        "500",
        "1:overloaded 1:ok",
        "1:overloaded 1:ok",
        longest=backoffs,
        times=1,
        check=waits_between_retries,
    ),
    *(
        FaultScenario(
            f"{status} always",
            status,
            _thrice("overloaded") + " 2:ok",
            _thrice("overloaded"),
            longest=backoffs,
            check=waits_between_retries,
        )
        for status in ("409", "500", "503", "529")
    ),
    FaultScenario(
        "502 as a page of HTML",
        "502-html",
        _thrice("overloaded") + " 2:ok",
        _thrice("overloaded"),
        longest=backoffs,
        check=waits_between_retries,
    ),
    FaultScenario("401, wrong key", "401", "1:auth 2:ok", "1:auth", alerts=1, check=is_complete_or_failed),
    FaultScenario(
        "402, no credit", "402", "1:billing 2:ok", "1:billing", alerts=1, check=is_complete_or_failed
    ),
    FaultScenario(
        "404, unknown model", "404", "1:not_found 2:ok", "1:not_found", alerts=1, check=is_complete_or_failed
    ),
    FaultScenario("400, bad request", "400", "1:bad_request", "1:bad_request", check=has_reason),
    FaultScenario(
        "context length",
        "context-length",
        "1:context_length L:ok",
        "1:context_length",
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "413, body too large",
        "413",
        "1:context_length 2:ok",
        "1:context_length",
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "images not supported",
        "unsupported",
        "1:unsupported 2:ok",
        "1:unsupported",
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "error passed on without a reason",
        "passed-on",
        "1:overloaded 2:ok",
        _thrice("overloaded"),
        longest=backoffs,
        check=waits_between_retries,
    ),
    FaultScenario("content filter", "prompt-blocked", "1:blocked", "1:blocked", check=has_reason),
    FaultScenario(
        "content filter in the answer", f"content-filter-{CUT}", "1:blocked", "1:blocked", check=keeps_partial
    ),
    FaultScenario(
        "redirect to another host",
        "redirect",
        "1:bad_reply 1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=is_complete_or_failed,
    ),
    # Connections and time limits.
    FaultScenario(
        "connection reset before headers",
        "reset",
        _thrice("network") + " 2:ok",
        _thrice("network"),
        longest=backoffs,
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "no answer at all",
        "silent",
        "1:timeout 2:ok",
        "1:timeout",
        longest=first_token,
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "endless comments",
        "comments",
        "1:timeout 2:ok",
        "1:timeout",
        longest=first_token,
        longest_alone=total,
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "endless empty chunks",
        "empty-chunks",
        "1:timeout 2:ok",
        "1:timeout",
        longest=first_token,
        longest_alone=total,
        check=is_complete_or_failed,
    ),
    FaultScenario(
        "slow first token, in time",
        "slow-first-token-wait-{slow}",
        "1:ok",
        "1:ok",
        longest=first_token,
        shortest=lambda policy: policy.first_token_seconds / 2,
        check=is_complete,
    ),
    # Answers that break after their first token.
    FaultScenario(
        "cut mid-answer, with FIN",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=keeps_partial,
    ),
    FaultScenario(
        "cut mid-answer, once, no other target",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:ok",
        times=1,
        check=is_complete,
    ),
    FaultScenario(
        "cut mid-answer, with RST",
        f"cut-reset-{CUT}",
        "1:network 1:network 2:ok",
        "1:network 1:network",
        check=keeps_partial,
    ),
    FaultScenario(
        "body ends mid-answer",
        f"cut-clean-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=keeps_partial,
    ),
    FaultScenario(
        "stall mid-answer, without FIN",
        f"stall-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        longest=between_tokens,
        check=keeps_partial,
    ),
    FaultScenario(
        "comments instead of the rest",
        f"comments-mid-stream-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        longest=between_tokens,
        check=keeps_partial,
    ),
    FaultScenario(
        "malformed chunk",
        f"malformed-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=keeps_partial,
    ),
    FaultScenario(
        "error event mid-answer",
        f"error-event-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=keeps_partial,
    ),
    FaultScenario(
        "error chunk mid-answer",
        f"error-chunk-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=keeps_partial,
    ),
    FaultScenario(
        "all text, no finish reason",
        "no-end",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        check=keeps_partial,
    ),
    # Gemini has no [DONE].
    FaultScenario(
        "[DONE], no finish reason",
        "no-finish",
        "1:ok | 1:bad_reply 2:ok",
        "1:ok | 1:bad_reply 1:bad_reply",
        check=is_complete_or_failed,
    ),
    FaultScenario("whole answer, no [DONE]", "no-done", "1:ok", "1:ok", check=is_complete),
    FaultScenario(
        "endless answer",
        "endless",
        "1:too_large 2:ok",
        "1:too_large",
        restarts=1,
        longest=total,
        check=is_complete_or_failed,
    ),
    # How a broken answer is rescued.
    FaultScenario(
        "rescued by continuing", f"cut-{CUT}", "1:bad_reply 2:ok", "", rescuer="prefix", check=is_continued
    ),
    FaultScenario(
        "rescuer refuses the prefix",
        f"cut-{CUT}",
        "1:bad_reply 2:bad_request 2:ok",
        "",
        rescuer="prefix",
        second_target={"fault": "prefix-rejected"},
        check=is_complete,
    ),
    FaultScenario(
        "rescuer starts again instead",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "",
        rescuer="prefix",
        restarts=1,
        second_target={"answer": {"text": ANSWER[:40] + " and nothing else."}},
        check=text_is(ANSWER[:40] + " and nothing else."),
    ),
    FaultScenario(
        "rescuer says something else",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        restarts=1,
        second_target={"answer": {"text": _OTHER}},
        check=text_is(_OTHER),
    ),
    Scenario("cut within a tool call", multi_run_scenarios.tool_call_cut, min_targets=2),
    # Answers that are invalid or unusual.
    FaultScenario(
        "200 with an error",
        "error-200",
        _thrice("overloaded") + " 2:ok | 1:bad_reply 1:bad_reply 2:ok",
        _thrice("overloaded") + " | 1:bad_reply 1:bad_reply",
        longest=backoffs,
        check=is_complete_or_failed,
    ),
    *(
        FaultScenario(
            name,
            fault,
            "1:bad_reply 1:bad_reply 2:ok",
            "1:bad_reply 1:bad_reply",
            check=is_complete_or_failed,
        )
        for name, fault in {
            "page of HTML": "html",
            "empty body": "empty",
            "empty answer": "empty-answer",
            "wrong encoding": "wrong-encoding",
            "not even HTTP": "not-http",
        }.items()
    ),
    FaultScenario("gzip", "gzip", "1:ok", "1:ok", check=is_complete),
    FaultScenario("token of 1 MB", "huge-token", "1:ok", "1:ok", check=text_is("x" * 1_000_000)),
    FaultScenario("JSON for a stream", "json-for-stream", "1:ok", "1:ok", check=is_complete),
    FaultScenario("a byte at a time", "bytewise", "1:ok", "1:ok", check=is_complete),
    # More than one run, or more than one target.
    Scenario("flapping: down for a while", multi_run_scenarios.flapping),
    Scenario("only target down: circuit open", multi_run_scenarios.only_target_down),
    Scenario("every target down", multi_run_scenarios.all_down),
    Scenario("endless trickle of tokens", multi_run_scenarios.endless_trickle),
    Scenario("client cancels", multi_run_scenarios.client_cancels),
)
