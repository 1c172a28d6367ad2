"""A route survives every fault, and a scenario fails when a rule of failover is broken."""

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
#: Continues a partial answer; its context window is no larger than that of `GPT_OSS`.
QWEN = Target("groq", "qwen/qwen3.8-27b")
#: Restarts only; its context window is larger.
GEMINI = Target("gemini", "gemini-3.5-flash-lite")
OPENROUTER = Target("openrouter", "openai/gpt-oss-120b")
OWN = Target("openai_compatible", "unknown")

ROUTE = (GPT_OSS, QWEN, GEMINI)
POLICY = replace(Policy().scaled(0.05), total_seconds=2.0, max_reply_bytes=1_500_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", [ROUTE, (GEMINI, OPENROUTER, OWN), (QWEN,)], ids=["three", "three wires", "alone"]
)
def test_a_route_survives_every_fault(route):
    results = chaos.run(route, POLICY)
    assert {result.scenario: result.problems for result in results if not result.passed} == {}
    assert len(results) == len(chaos.SCENARIOS)


def test_documentation_shows_every_scenario():
    page = (settings.BASE_DIR / "docs" / "failover.md").read_text()
    assert [each.name for each in chaos.SCENARIOS if f"pass  {each.name} " not in page] == []


# -- rules, each broken by a mutation ---------------------------------------------------


def with_policy(**changes) -> type[Run]:
    class Broken(Run):
        def __init__(self, *args, policy: Policy, **options) -> None:
            super().__init__(*args, policy=replace(policy, **changes), **options)

    return Broken


def with_plan(plan: type[FailoverPlan]) -> type[Run]:
    return type("Broken", (Run,), {"plan_class": plan})


def reacting_to(kind: type[errors.ProviderError], reaction: str) -> type[Run]:
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


class AcceptsCutAnswers(Run):
    def _attempt(self, next_call) -> Iterator:
        try:
            return (yield from super()._attempt(next_call))
        except errors.BadReply:
            return Completion("".join(self._sent), "stop", next_call.target)


class JoinsWithoutSplicing(Run):
    def _splicer(self, sent, continuing):
        return None


class ContinuesWithAnyModel(Run):
    def _may_continue(self, target, sent) -> bool:
        return bool(sent) and target not in self._rejects_prefix


class NeverContinues(Run):
    def _may_continue(self, target, sent) -> bool:
        return False


class KeepsRejectedPrefix(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self._prefix_rejected = False


class LosesThePartial(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self._partial = None


class BillsFailures(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        self.attempts[-1].cost = Decimal("0.01")


class LogsNoAlerts(Run):
    def _log(self, *args) -> None:
        pass


class IgnoresCancel(Run):
    def cancel(self) -> None:
        pass


class NamesTheWrongModel(Run):
    def _attempt(self, next_call) -> Iterator:
        completion = yield from super()._attempt(next_call)
        return replace(completion, target=ROUTE[0])


class RetriesUnrecorded(Run):
    def _open(self, request, target):
        list(super()._open(request, target))
        return super()._open(request, target)


class RecordsTheLastAttemptOnly(Run):
    def _record_failure(self, *args) -> None:
        super()._record_failure(*args)
        del self.attempts[:-1]


BROKEN = {
    "Retry-After is waited for": (with_policy(retries_on_rate_limit=0), "429 once, short Retry-After"),
    "Retry-After is waited for once": (with_policy(retries_on_rate_limit=3), "429 always, short Retry-After"),
    "Retry-After is limited": (with_policy(retry_after_seconds=60), "429, Retry-After too long"),
    "without Retry-After the next target is called": (
        reacting_to(errors.RateLimited, "stop"),
        "429 without Retry-After",
    ),
    "overload is retried": (with_policy(retries_on_overload=0), "500 once"),
    "overload is retried twice": (with_policy(retries_on_overload=3), "503 always"),
    "overload is retried with backoff": (with_policy(backoff_seconds=0), "500 always"),
    "lost connections are retried": (with_policy(retries_on_overload=0), "connection reset before headers"),
    "the first token has a limit": (with_policy(first_token_seconds=60), "endless comments"),
    "the time between tokens has a limit": (
        with_policy(between_tokens_seconds=60),
        "stall mid-answer, without FIN",
    ),
    "a silent target is not called again": (reacting_to(errors.ProviderSilent, "retry"), "no answer at all"),
    "after a wrong key the next target is called": (
        reacting_to(errors.Unauthorized, "stop"),
        "401, wrong key",
    ),
    "without credit the next target is called": (
        reacting_to(errors.BillingRefused, "retry"),
        "402, no credit",
    ),
    "after an unknown model the next target is called": (
        reacting_to(errors.ModelNotFound, "stop"),
        "404, unknown model",
    ),
    "operators are alerted": (LogsNoAlerts, "401, wrong key"),
    "long prompts need a larger window": (with_plan(IgnoresWindows), "context length"),
    "bad requests stop": (reacting_to(errors.BadRequest, "next"), "400, bad request"),
    "blocked content stops": (reacting_to(errors.Blocked, "next"), "content filter"),
    "bad replies are retried once": (with_policy(retries_on_bad_reply=0), "page of HTML"),
    "a cut answer is not a success": (AcceptsCutAnswers, "cut mid-answer, with FIN"),
    "a cut answer is rescued": (reacting_to(errors.BadReply, "stop"), "body ends mid-answer"),
    "a stalled answer is rescued": (
        reacting_to(errors.ProviderSilent, "stop"),
        "stall mid-answer, without FIN",
    ),
    "a reset target gets one more call": (
        reacting_to(errors.Unreachable, "next"),
        "cut mid-answer, with RST",
    ),
    "partials are continued": (NeverContinues, "rescued by continuing"),
    "only if the model accepts a prefix": (ContinuesWithAnyModel, "rescuer says something else"),
    "a rejected prefix is omitted": (KeepsRejectedPrefix, "rescuer refuses the prefix"),
    "a repeated beginning is spliced": (JoinsWithoutSplicing, "all text, no finish reason"),
    "a different beginning is a restart": (JoinsWithoutSplicing, "rescuer says something else"),
    "a prefix that is not continued is a restart": (JoinsWithoutSplicing, "rescuer starts again instead"),
    "tool calls are restarted": (JoinsWithoutSplicing, "cut within a tool call"),
    "partials are kept": (LosesThePartial, "endless trickle of tokens"),
    "circuits open": (with_policy(breaker_failures=1000), "flapping: down for a while"),
    "circuits close": (with_policy(breaker_seconds=1000), "flapping: down for a while"),
    "an open circuit limits the wait": (with_policy(breaker_failures=1000), "only target down: circuit open"),
    "the number of calls is limited": (with_policy(max_attempts=100), "every target down"),
    "the total time is limited": (with_policy(total_seconds=6), "endless trickle of tokens"),
    "clients can cancel": (IgnoresCancel, "client cancels"),
    "failures cost nothing": (BillsFailures, "503 always"),
    "every attempt is on the receipt": (RecordsTheLastAttemptOnly, "503 always"),
    "the answer names its model": (NamesTheWrongModel, "401, wrong key"),
    "no call is unrecorded": (RetriesUnrecorded, "nothing wrong"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "scenario"), BROKEN.values(), ids=BROKEN)
def test_a_scenario_fails_when_the_rule_is_broken(broken, scenario):
    (result,) = chaos.run(ROUTE, POLICY, only=[scenario], run_class=broken)
    assert not result.skipped
    assert result.problems


# -- the command ----------------------------------------------------------------------


@pytest.fixture
def fast(settings):
    settings.LLM_TOTAL_SECONDS = 40
    settings.LLM_MAX_REPLY_BYTES = 1_500_000
    return settings


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_scenario(fast):
    out = StringIO()
    call_command("chaos", route="groq,gemini", scale=0.05, stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "1: groq/openai/gpt-oss-120b  2: gemini/gemini-3.5-flash-lite"
    assert len(lines) == 2 + len(chaos.SCENARIOS)
    assert any(line.endswith("1:overloaded 1:overloaded 1:overloaded 2:ok") for line in lines)


@pytest.mark.slow
def test_the_command_fails_when_a_fault_is_not_survived(fast):
    fast.LLM_MAX_ATTEMPTS = 1
    out = StringIO()
    with pytest.raises(CommandError, match="failed: "):
        call_command("chaos", route="groq,gemini", scale=0.05, json=True, stdout=out)
    failed = {result["scenario"] for result in json.loads(out.getvalue()) if not result["passed"]}
    assert failed >= {"500 once", "401, wrong key"}


def test_the_command_refuses_an_unknown_provider():
    with pytest.raises(CommandError, match="no provider 'nope'"):
        call_command("chaos", route="nope/x")


def test_the_command_refuses_a_scale_of_zero():
    with pytest.raises(CommandError, match="--scale"):
        call_command("chaos", route="groq", scale=0)
