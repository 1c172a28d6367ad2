"""Every fault is survived; and chaos notices when a rule of failover is broken."""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from llm import errors
from llm.canonical import Completion, Target
from llm.failover_plan import FailoverPlan
from llm.policy import Policy
from llm.routing import Run
from qa import chaos

GPT_OSS = Target("groq", "openai/gpt-oss-120b")
#: Continues a partial answer; its window is no larger than that of `GPT_OSS`.
QWEN = Target("groq", "qwen/qwen3.8-27b")
#: Starts again only; its window is larger.
GEMINI = Target("gemini", "gemini-3.5-flash-lite")
OPENROUTER = Target("openrouter", "openai/gpt-oss-120b")
OWN = Target("openai_compatible", "unknown")

ROUTE = (GPT_OSS, QWEN, GEMINI)
POLICY = replace(Policy().scaled(0.05), total_seconds=2.0, max_reply_bytes=1_500_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", [ROUTE, (GEMINI, OPENROUTER, OWN), (QWEN,)], ids=["three", "three wires", "alone"]
)
def test_every_fault_is_survived(route):
    verdicts = chaos.run(route, POLICY)
    assert {verdict.trial: verdict.problems for verdict in verdicts if not verdict.passed} == {}
    assert len(verdicts) == len(chaos.TRIALS)


def test_documentation_shows_every_fault():
    page = (settings.BASE_DIR / "docs" / "failover.md").read_text()
    assert [trial.name for trial in chaos.TRIALS if f"pass  {trial.name} " not in page] == []


# -- rules, each broken on purpose ---------------------------------------------------


def with_policy(**changes) -> type[Run]:
    class Broken(Run):
        def __init__(self, *args, policy: Policy, **options) -> None:
            super().__init__(*args, policy=replace(policy, **changes), **options)

    return Broken


def with_plan(plan: type[FailoverPlan]) -> type[Run]:
    return type("Broken", (Run,), {"plan_class": plan})


def answering_to(kind: type[errors.ProviderError], reaction: str) -> type[Run]:
    """Return a run that reacts to that kind of failure by "retry", "next" or "stop", always."""

    class Broken(FailoverPlan):
        def next_after(self, error, target, **facts):
            if not isinstance(error, kind):
                return super().next_after(error, target, **facts)
            return {"retry": lambda: self.retry(target), "next": self.next, "stop": lambda: None}[reaction]()

    return with_plan(Broken)


class IgnoresWindows(FailoverPlan):
    def _large_enough(self, target: Target) -> bool:
        return True


class PassesOffCuts(Run):
    def _attempt(self, next_call) -> Iterator:
        try:
            return (yield from super()._attempt(next_call))
        except errors.BadReply:
            return Completion("".join(self._sent), "stop", next_call.target)


class JoinsBlindly(Run):
    def _splicer(self, sent, continuing):
        return None


class ContinuesAnywhere(Run):
    def _may_continue(self, target, sent) -> bool:
        return bool(sent) and target not in self._rejects_prefix


class NeverContinues(Run):
    def _may_continue(self, target, sent) -> bool:
        return False


class InsistsOnThePrefix(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self._prefix_rejected = False


class ForgetsThePartial(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self._partial = None


class BillsFailures(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self.attempts[-1].cost = Decimal("0.01")


class RaisesNoAlarm(Run):
    def _log(self, *args) -> None:
        pass


class IgnoresCancel(Run):
    def cancel(self) -> None:
        pass


class NamesTheWrongModel(Run):
    def _attempt(self, next_call) -> Iterator:
        completion = yield from super()._attempt(next_call)
        return replace(completion, target=ROUTE[0])


class RetriesInSecret(Run):
    def _open(self, request, target):
        list(super()._open(request, target))
        return super()._open(request, target)


class LosesLinesOfTheReceipt(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        del self.attempts[:-1]


BROKEN = {
    "Retry-After is waited for": (with_policy(retries_on_rate_limit=0), "429 once, short Retry-After"),
    "it is waited for once": (with_policy(retries_on_rate_limit=3), "429 always, short Retry-After"),
    "only within the budget": (with_policy(retry_after_seconds=60), "429, Retry-After too long"),
    "else the next target is called": (
        answering_to(errors.RateLimited, "stop"),
        "429 without Retry-After",
    ),
    "overload is retried": (with_policy(retries_on_overload=0), "500 once"),
    "it is retried twice": (with_policy(retries_on_overload=3), "503 always"),
    "with backoff": (with_policy(backoff_seconds=0), "500 always"),
    "lost connections are retried": (with_policy(retries_on_overload=0), "connection reset before headers"),
    "the first token has a limit": (with_policy(first_token_seconds=60), "comments for ever"),
    "so has the time between tokens": (
        with_policy(between_tokens_seconds=60),
        "stall mid-answer, without FIN",
    ),
    "silent targets are left at once": (answering_to(errors.ProviderSilent, "retry"), "no answer at all"),
    "a wrong key moves on": (answering_to(errors.Unauthorized, "stop"), "401, wrong key"),
    "no credit moves on": (answering_to(errors.BillingRefused, "retry"), "402, no credit"),
    "an unknown model moves on": (answering_to(errors.ModelNotFound, "stop"), "404, unknown model"),
    "operators are alerted": (RaisesNoAlarm, "401, wrong key"),
    "long prompts need a larger window": (with_plan(IgnoresWindows), "context length"),
    "bad requests stop": (answering_to(errors.BadRequest, "next"), "400, bad request"),
    "blocked content stops": (answering_to(errors.Blocked, "next"), "content filter"),
    "bad replies are retried once": (with_policy(retries_on_bad_reply=0), "page of HTML"),
    "cuts are no success": (PassesOffCuts, "cut mid-answer, with FIN"),
    "cuts are rescued": (answering_to(errors.BadReply, "stop"), "body ends mid-answer"),
    "stalls are rescued": (answering_to(errors.ProviderSilent, "stop"), "stall mid-answer, without FIN"),
    "a reset target gets one more call": (
        answering_to(errors.Unreachable, "next"),
        "cut mid-answer, with RST",
    ),
    "partials are continued": (NeverContinues, "rescued by continuing"),
    "only where the model takes a prefix": (ContinuesAnywhere, "rescuer says something else"),
    "a refused prefix is left out": (InsistsOnThePrefix, "rescuer refuses the prefix"),
    "a repeated beginning leaves no seam": (JoinsBlindly, "all text, no finish reason"),
    "another beginning is a restart": (JoinsBlindly, "rescuer says something else"),
    "a prefix that is not continued is a restart": (JoinsBlindly, "rescuer starts again instead"),
    "tool calls are restarted": (JoinsBlindly, "cut within a tool call"),
    "partials are kept": (ForgetsThePartial, "answer that takes for ever"),
    "circuits open": (with_policy(breaker_failures=1000), "flapping: down for a while"),
    "circuits close": (with_policy(breaker_seconds=1000), "flapping: down for a while"),
    "circuits bound the waiting": (with_policy(breaker_failures=1000), "only target down: circuit open"),
    "calls are capped": (with_policy(max_attempts=100), "every target down"),
    "so is the time": (with_policy(total_seconds=6), "answer that takes for ever"),
    "clients can cancel": (IgnoresCancel, "client cancels"),
    "failures cost nothing": (BillsFailures, "503 always"),
    "every attempt is on the receipt": (LosesLinesOfTheReceipt, "503 always"),
    "the answer names its model": (NamesTheWrongModel, "401, wrong key"),
    "there is one retry layer": (RetriesInSecret, "nothing wrong"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "trial"), BROKEN.values(), ids=BROKEN)
def test_chaos_goes_red_when_the_rule_is_broken(broken, trial):
    (verdict,) = chaos.run(ROUTE, POLICY, only=[trial], run_class=broken)
    assert not verdict.skipped
    assert verdict.problems


# -- the command ----------------------------------------------------------------------


@pytest.fixture
def fast(settings):
    settings.LLM_TOTAL_SECONDS = 40
    settings.LLM_MAX_REPLY_BYTES = 1_500_000
    return settings


@pytest.mark.slow
def test_command_prints_a_line_for_each_fault(fast):
    out = StringIO()
    call_command("chaos", route="groq,gemini", scale=0.05, stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "1: groq/openai/gpt-oss-120b  2: gemini/gemini-3.5-flash-lite"
    assert len(lines) == 2 + len(chaos.TRIALS)
    assert any(line.endswith("1:overloaded 1:overloaded 1:overloaded 2:ok") for line in lines)


@pytest.mark.slow
def test_command_fails_when_a_fault_is_not_survived(fast):
    fast.LLM_MAX_ATTEMPTS = 1
    out = StringIO()
    with pytest.raises(CommandError, match="failed: "):
        call_command("chaos", route="groq,gemini", scale=0.05, json=True, stdout=out)
    verdicts = json.loads(out.getvalue())
    assert {verdict["trial"] for verdict in verdicts if not verdict["passed"]} >= {
        "500 once",
        "401, wrong key",
    }


def test_command_says_what_is_wrong_with_the_route():
    with pytest.raises(CommandError, match="no provider 'nope'"):
        call_command("chaos", route="nope/x")


def test_command_refuses_a_clock_that_stands_still():
    with pytest.raises(CommandError, match="--scale"):
        call_command("chaos", route="groq", scale=0)
