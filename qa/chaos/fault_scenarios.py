"""Every fault of a provider, and what must come of it.

What is expected is written as receipts: `1:overloaded 2:ok` means that the first
target was called and overloaded, then the second one answered. Nothing here is
taken from the code that is tried.
"""

from __future__ import annotations

from qa.chaos import scenarios
from qa.chaos.fault_scenario import Story, Trial, backoffs, between_tokens, first_token, total
from qa.chaos.harness import ANSWER
from qa.chaos.invariants import continued, kept, reason_given, says, waits_between, whole, whole_or_failed

#: Long enough to be continued, short of the answer's end.
CUT = "after-12"


def _thrice(outcome: str) -> str:
    return " ".join([f"1:{outcome}"] * 3)


_OTHER = "Nothing that was said before is true: " + ANSWER

TRIALS: tuple[Trial | Story, ...] = (
    Trial("nothing wrong", None, "1:ok", "1:ok", check=whole),
    # Refusals.
    Trial(
        "429 once, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:ok",
        "1:rate_limit 1:ok",
        allowed=lambda policy: policy.retry_after_seconds / 10,
        least=lambda policy: policy.retry_after_seconds / 10,
        times=1,
        check=whole,
    ),
    Trial(
        "429 always, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:rate_limit 2:ok",
        "1:rate_limit 1:rate_limit",
        allowed=lambda policy: policy.retry_after_seconds / 10,
        check=whole_or_failed,
    ),
    Trial(
        "429, Retry-After too long",
        "429-wait-{long}",
        "1:rate_limit 2:ok",
        "1:rate_limit",
        check=whole_or_failed,
    ),
    Trial("429 without Retry-After", "429-bare", "1:rate_limit 2:ok", "1:rate_limit", check=whole_or_failed),
    Trial(
        "500 once",
        "500",
        "1:overloaded 1:ok",
        "1:overloaded 1:ok",
        allowed=backoffs,
        times=1,
        check=waits_between,
    ),
    *(
        Trial(
            f"{status} always",
            status,
            _thrice("overloaded") + " 2:ok",
            _thrice("overloaded"),
            allowed=backoffs,
            check=waits_between,
        )
        for status in ("500", "503", "529")
    ),
    Trial(
        "502 as a page of HTML",
        "502-html",
        _thrice("overloaded") + " 2:ok",
        _thrice("overloaded"),
        allowed=backoffs,
        check=waits_between,
    ),
    Trial("401, wrong key", "401", "1:auth 2:ok", "1:auth", alerts=1, check=whole_or_failed),
    Trial("402, no credit", "402", "1:billing 2:ok", "1:billing", alerts=1, check=whole_or_failed),
    Trial("404, unknown model", "404", "1:not_found 2:ok", "1:not_found", alerts=1, check=whole_or_failed),
    Trial("400, bad request", "400", "1:bad_request", "1:bad_request", check=reason_given),
    Trial(
        "context length", "context-length", "1:context_length L:ok", "1:context_length", check=whole_or_failed
    ),
    Trial("content filter", "prompt-blocked", "1:blocked", "1:blocked", check=reason_given),
    Trial("content filter in the answer", f"content-filter-{CUT}", "1:blocked", "1:blocked", check=kept),
    Trial(
        "redirect to another host",
        "redirect",
        "1:bad_reply 1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=whole_or_failed,
    ),
    # Connections and clocks.
    Trial(
        "connection reset before headers",
        "reset",
        _thrice("network") + " 2:ok",
        _thrice("network"),
        allowed=backoffs,
        check=whole_or_failed,
    ),
    Trial(
        "no answer at all",
        "silent",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "comments for ever",
        "comments",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "empty chunks for ever",
        "empty-chunks",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "slow first token, in time",
        "slow-first-token-wait-{slow}",
        "1:ok",
        "1:ok",
        allowed=first_token,
        least=lambda policy: policy.first_token_seconds / 2,
        check=whole,
    ),
    # Answers that break after their first token.
    Trial(
        "cut mid-answer, with FIN",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=kept,
    ),
    Trial(
        "cut mid-answer, once, no other target",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:ok",
        times=1,
        check=whole,
    ),
    Trial(
        "cut mid-answer, with RST",
        f"cut-reset-{CUT}",
        "1:network 1:network 2:ok",
        "1:network 1:network",
        check=kept,
    ),
    Trial(
        "body ends mid-answer", f"cut-clean-{CUT}", "1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=kept
    ),
    Trial(
        "stall mid-answer, without FIN",
        f"stall-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=between_tokens,
        check=kept,
    ),
    Trial(
        "comments instead of the rest",
        f"comments-mid-stream-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=between_tokens,
        check=kept,
    ),
    Trial("malformed chunk", f"malformed-{CUT}", "1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=kept),
    Trial(
        "error event mid-answer",
        f"error-event-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=kept,
    ),
    Trial(
        "error chunk mid-answer",
        f"error-chunk-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=kept,
    ),
    Trial(
        "all text, no finish reason",
        "no-finish",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        check=kept,
    ),
    Trial("whole answer, no [DONE]", "no-done", "1:ok", "1:ok", check=whole),
    Trial(
        "endless answer",
        "endless",
        "1:too_large 2:ok",
        "1:too_large",
        restarts=1,
        allowed=total,
        check=whole_or_failed,
    ),
    # How a broken answer is rescued.
    Trial("rescued by continuing", f"cut-{CUT}", "1:bad_reply 2:ok", "", rescuer="prefix", check=continued),
    Trial(
        "rescuer refuses the prefix",
        f"cut-{CUT}",
        "1:bad_reply 2:bad_request 2:ok",
        "",
        rescuer="prefix",
        second={"fault": "prefix-rejected"},
        check=whole,
    ),
    Trial(
        "rescuer starts again instead",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "",
        rescuer="prefix",
        restarts=1,
        second={"answer": {"text": ANSWER[:40] + " and nothing else."}},
        check=says(ANSWER[:40] + " and nothing else."),
    ),
    Trial(
        "rescuer says something else",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        restarts=1,
        second={"answer": {"text": _OTHER}},
        check=says(_OTHER),
    ),
    Story("cut within a tool call", scenarios.tool_call_cut, least_targets=2),
    # Answers that are none, or hard to read.
    Trial(
        "200 with an error",
        "error-200",
        _thrice("overloaded") + " 2:ok | 1:bad_reply 1:bad_reply 2:ok",
        _thrice("overloaded") + " | 1:bad_reply 1:bad_reply",
        allowed=backoffs,
        check=whole_or_failed,
    ),
    *(
        Trial(name, fault, "1:bad_reply 1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=whole_or_failed)
        for name, fault in {
            "page of HTML": "html",
            "empty body": "empty",
            "empty answer": "empty-answer",
            "wrong encoding": "wrong-encoding",
            "not even HTTP": "not-http",
        }.items()
    ),
    Trial("gzip", "gzip", "1:ok", "1:ok", check=whole),
    Trial("token of 1 MB", "huge-token", "1:ok", "1:ok", check=says("x" * 1_000_000)),
    Trial("JSON for a stream", "json-for-stream", "1:ok", "1:ok", check=whole),
    Trial("a byte at a time", "bytewise", "1:ok", "1:ok", check=whole),
    # More than one run, or more than one target.
    Story("flapping: down for a while", scenarios.flapping),
    Story("only target down: circuit open", scenarios.lone_target_down),
    Story("every target down", scenarios.all_down),
    Story("answer that takes for ever", scenarios.trickle),
    Story("client cancels", scenarios.client_cancels),
)
