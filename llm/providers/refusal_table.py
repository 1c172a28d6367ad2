"""What providers refuse, and what each refusal means: one line a kind of answer, with its source.

The first line that matches decides, so the order is part of the table: codes that mean one thing
whatever stands beside them, then wordings, then the status, then words that many errors share. A line
matches if everything it names does. `llm.providers.refusals` reads it; `llm/tests/refusals/` has real
answers for every line.

To add a line: put it where its meaning stands, with a link and a date, and a real answer into the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from llm import errors
from llm.providers import length_wording
from llm.providers import refusal_wordings as wordings
from llm.providers.wording import Wording


@dataclass(frozen=True, slots=True)
class Line:
    """`codes` are compared without case and punctuation; `wording` judges the message.

    `statuses` empty: any, also none (an error inside a stream).
    """

    meaning: type[errors.ProviderError]
    source: str
    codes: frozenset[str] = frozenset()
    statuses: tuple[int | None, ...] = ()
    wording: Callable[[str], object] | None = None


def comparable(code: str) -> str:
    """Return a code without case and punctuation: `Data_Inspection-Failed` is `datainspectionfailed`."""
    return re.sub(r"[\W_]+", "", code).lower()


def _codes(meaning: type[errors.ProviderError], codes: str, source: str, *statuses: int | None) -> Line:
    return Line(meaning, source, frozenset(map(comparable, codes.split())), statuses)


def _wording(
    meaning: type[errors.ProviderError], wording: Wording, source: str, *statuses: int | None
) -> Line:
    return Line(meaning, source, frozenset(), statuses, wording.found_in)


def _status(meaning: type[errors.ProviderError], source: str, *statuses: int) -> Line:
    return Line(meaning, source, frozenset(), statuses)


#: An answer that blames the request; inside a stream there is no status.
_REQUEST = (400, 403, 406, 413, 422, 451, None)
#: Gateways pass on the refusal of the model behind them with a status of their own.
_ANY_BUT_CREDENTIALS = (400, 413, 414, 422, 500, 502, 503, None)

_OPENAI = "https://platform.openai.com/docs/guides/error-codes (2026-11)"
_GROQ = "https://console.groq.com/docs/errors (2026-11)"
_OPENROUTER = "https://openrouter.ai/docs/api/reference/errors-and-debugging (2026-11)"
_GEMINI = "https://ai.google.dev/gemini-api/docs/troubleshooting (2026-11)"
_DASHSCOPE = "https://help.aliyun.com/zh/model-studio/error-code (2026-11)"
_ZHIPU = "https://docs.bigmodel.cn/cn/faq/api-code (2026-11)"
_MOONSHOT = "https://platform.moonshot.ai/docs/api/chat (2026-11)"
_ANTHROPIC = "https://docs.anthropic.com/en/api/errors (2026-11)"
_BEDROCK = (
    "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html (2026-11)"
)
_AZURE = "https://learn.microsoft.com/en-us/azure/ai-services/openai/concepts/content-filter (2026-11)"
_VLLM = "https://github.com/vllm-project/vllm/tree/main/vllm/entrypoints/openai (2026-11)"

LINES: tuple[Line, ...] = (
    # -- codes that mean one thing, whatever stands beside them ------------------------
    _codes(
        errors.BadReply,
        "tool_use_failed json_validate_failed output_parse_failed",
        f"The model wrote an invalid tool call or JSON, so that another attempt may succeed: {_GROQ}",
    ),
    _codes(
        errors.ContextTooLong,
        "context_length_exceeded exceed_context_size_error context_window_exceeded"
        " model_context_window_exceeded model_max_prompt_tokens_exceeded tokens_limit_reached"
        " ContextWindowExceededError request_too_large 1261 3051",
        f"{_OPENAI}; https://github.com/ggml-org/llama.cpp/tree/master/tools/server;"
        " https://github.com/orgs/community/discussions/158437 (GitHub, 2025-05);"
        f" {_ANTHROPIC}; 1261: {_ZHIPU}; 3051: Mistral, https://github.com/BerriAI/litellm/issues/6281",
    ),
    _codes(
        errors.Blocked,
        "content_policy_violation content_filter content_filtered content_filter_error refusal"
        " moderation moderation_blocked guardrail_blocked guardrail_intervened data_inspection_failed"
        " responsible_ai_policy_violation prohibited_content ContentPolicyViolationError"
        " sensitive_words_detected"
        " 1301",
        f"{_OPENAI}; {_OPENROUTER}; {_DASHSCOPE}; {_AZURE}; 1301: {_ZHIPU};"
        " https://docs.mistral.ai/capabilities/guardrailing (guardrail_blocked, 2026-11)",
    ),
    _codes(
        errors.Blocked,
        "invalid_prompt",
        "https://github.com/openai/codex/issues/7250 (2026-09)",
        *_REQUEST,
    ),
    _codes(errors.Blocked, "flagged_input", f"metadata.reasons or flagged_input: {_OPENROUTER}", 403),
    _codes(errors.BillingRefused, "limit_source", f"A spent budget: {_OPENROUTER}, observed 2026-11", 403),
    _codes(
        errors.BillingRefused,
        "payment_required insufficient_quota insufficient_credits insufficient_balance billing_error"
        " billing_hard_limit_reached billing_not_active exceeded_current_quota_error arrearage"
        " AllocationQuota.FreeTierOnly insufficient_user_quota quota_not_enough 1113",
        f"{_OPENAI}; {_OPENROUTER}; exceeded_current_quota_error: {_MOONSHOT}; Arrearage: {_DASHSCOPE};"
        f" 1113: {_ZHIPU}; insufficient_user_quota: https://github.com/QuantumNous/new-api (2026-11)",
    ),
    _codes(
        errors.BillingRefused,
        "failed_precondition",
        "A region without a free plan, or unpaid bills:"
        " https://github.com/google-gemini/gemini-cli/issues/25198 (2026-04)",
        400,
        None,
    ),
    _codes(
        errors.Unauthorized,
        "invalid_api_key api_key_invalid account_deactivated organization_restricted"
        " model_terms_required model_permission_blocked_org model_permission_blocked_project"
        " unsupported_country_region_territory Model.AccessDenied AccessDeniedException"
        " UnrecognizedClientException 1000 1002 1003 1004 1112 1220",
        f"{_OPENAI}; {_GROQ}; {_GEMINI}; {_DASHSCOPE}; {_BEDROCK}; numbers: {_ZHIPU}",
    ),
    _wording(
        errors.BillingRefused,
        wordings.MONEY,
        "https://github.com/anthropics/claude-code/issues/4684 (2025-07);"
        " https://github.com/continuedev/continue/issues/9853"
        f" (DeepSeek, 2026-01); {_DASHSCOPE}; {_ZHIPU}; {_MOONSHOT}",
        *(400, 401, 402, 403, 412, 422, 429, None),
    ),
    _codes(
        errors.RateLimited,
        "rate_limit_exceeded rate_limit_error rate_limit_reached_error too_many_requests resource_exhausted"
        " ThrottlingException Throttling Throttling.RateQuota Throttling.AllocationQuota limit_requests"
        " TooManyRequestsException RateLimitError ServiceQuotaExceededException 1302 1303 1304 1308",
        f"{_OPENAI}; {_GROQ}; {_GEMINI}; {_BEDROCK}; {_DASHSCOPE}; {_MOONSHOT}; numbers: {_ZHIPU}",
        *(400, 402, 403, 413, 429, 498, 500, 503, None),
    ),
    # -- wordings: accounts --------------------------------------------------------------------
    _wording(
        errors.Unauthorized,
        wordings.ACCOUNT,
        f"{_OPENAI}; {_GROQ} (organization_restricted, model_terms_required);"
        " https://api-docs.deepseek.com/quick_start/error_codes (2026-11)",
        *(400, 401, 403, 422, None),
    ),
    # -- wordings: content -----------------------------------------------------------------
    _wording(
        errors.Blocked,
        wordings.CONTENT,
        "xAI https://github.com/theopenco/llmgateway/pull/1785 (2026-03); DeepSeek"
        " https://github.com/deepseek-ai/awesome-deepseek-integration/issues/13 (2024-05); DashScope"
        " https://github.com/camel-ai/owl/issues/432 (2025-03); OpenAI"
        " https://github.com/openai/codex/issues/7250 (2026-09);"
        f" Azure {_AZURE}; Moonshot {_MOONSHOT}; Zhipu {_ZHIPU}",
        *_REQUEST,
        498,  # Cohere: https://docs.cohere.com/reference/errors (2026-11)
        500,
    ),
    # -- wordings: limits of rate ----------------------------------------------------------
    _wording(
        errors.RateLimited,
        wordings.RATE,
        "Bedrock https://github.com/jin-bo/agentao/pull/88 (2026-06); Groq"
        f" https://github.com/continuedev/continue/issues/10218 (2026-02); {_ZHIPU}; {_DASHSCOPE}",
        *(400, 403, 413, 422, 424, 500, 503, None),
    ),
    # -- wordings: length --------------------------------------------------------------------
    Line(
        errors.BadRequest,
        "A parameter's range is no window: https://github.com/vercel/ai/issues/4854 (Groq, 2025-02),"
        " https://github.com/deepseek-ai/DeepSeek-V3/issues/69 (2024-12)",
        statuses=_ANY_BUT_CREDENTIALS,
        wording=length_wording.is_about_the_answers_length,
    ),
    Line(
        errors.ContextTooLong,
        "By meaning (what exceeds which limit), because each server has its own sentence:"
        " https://github.com/earendil-works/pi/issues/4943 (2026-05), /issues/5677 (2026-06), /pull/5929"
        " (2026-06);"
        " https://github.com/ggml-org/llama.cpp/issues/19774 (status 500, 2026-02)",
        statuses=_ANY_BUT_CREDENTIALS,
        wording=length_wording.is_about_the_prompts_length,
    ),
    # -- wordings: what the target cannot do ----------------------------------------------
    _wording(
        errors.Unsupported,
        wordings.CAPABILITY,
        f"{_OPENROUTER}; https://github.com/dnakov/anon-kode/issues/2 (OpenRouter, 2025-03);"
        " https://github.com/ollama/ollama/issues/8193 (2024-12);"
        " https://github.com/ggml-org/llama.cpp/issues/14132 (2025-06);"
        f" {_VLLM} (tool choice)",
        *(400, 404, 405, 415, 422, 500, 501, None),
    ),
    # -- wordings: models -----------------------------------------------------------------
    _codes(
        errors.ModelNotFound,
        "model_not_found model_decommissioned model_not_active model_not_available unknown_model"
        " invalid_model DeploymentNotFound OperationNotSupported ModelNotFoundError"
        " ResourceNotFoundException model_not_supported 1500 1211 1212",
        f"{_OPENAI}; {_GROQ}; {_AZURE}; 1500: Mistral, https://github.com/Kilo-Org/kilocode/pull/3566"
        f" (2025-11);"
        f" numbers: {_ZHIPU}",
        *(400, 403, 404, 410, 422, 500, 503, None),
    ),
    _wording(
        errors.ModelNotFound,
        wordings.MODEL,
        "DeepSeek, xAI, Mistral: https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/"
        f"exception_mapping_utils.py (2026-11); {_GROQ}",
        *(400, 404, 410, 422, 500, None),
    ),
    # -- words of access and of overload -------------------------------------------------------
    _codes(
        errors.Unauthorized,
        "authentication authentication_error unauthenticated permission_denied permission_error"
        " AuthenticationError PermissionDeniedError insufficient_permissions forbidden unauthorized",
        f"{_OPENAI}; {_OPENROUTER}; {_GEMINI}; {_ANTHROPIC}",
        *(400, 401, 403, 404, None),
    ),
    _codes(
        errors.Overloaded,
        "provider_overloaded provider_unavailable overloaded overloaded_error engine_overloaded"
        " engine_overloaded_error capacity_exceeded server timeout unavailable unavailable_error"
        " service_unavailable ServiceUnavailableException ModelNotReadyException ModelTimeoutException"
        " ModelStreamErrorException InternalServerException deadline_exceeded aborted cancelled conflict"
        " insufficient_system_resource 1305 1312",
        f"{_OPENAI}; {_OPENROUTER}; {_GEMINI}; {_BEDROCK}; {_MOONSHOT}; numbers: {_ZHIPU};"
        " CANCELLED under load: https://github.com/google-gemini/gemini-cli/issues/4454 (2025-07)",
        *(400, 403, 404, 408, 409, 424, 425, 429, 499, 500, 502, 503, 504, 529, None),
    ),
    _wording(
        errors.Overloaded,
        wordings.BUSY,
        f"{_DASHSCOPE}; {_ZHIPU}; https://github.com/anthropics/claude-code/issues/3572 (2025-07)",
        *(400, 403, 404, 422, 424, None),
    ),
    _wording(
        errors.Overloaded,
        wordings.NO_REASON,
        "The host gave no reason, so it is the host's fault:"
        " https://github.com/campfirein/byterover-cli/issues/43 (2025-07)",
        *(400, 422, None),
    ),
    # -- the status alone ------------------------------------------------------------------
    _status(errors.Unauthorized, "RFC 9110, 15.5.2 and 15.5.4", 401, 403),
    _status(
        errors.BillingRefused, f"{_OPENROUTER}; https://api-docs.deepseek.com/quick_start/error_codes", 402
    ),
    _status(errors.ModelNotFound, f"{_OPENAI}; {_GEMINI}", 404, 410),
    _status(
        errors.Overloaded,
        "409: Groq and OpenAI call it worth a retry,"
        " https://github.com/openai/openai-python/blob/main/src/openai/"
        f"_base_client.py (2026-11); ABORTED and 499 CANCELLED: {_GEMINI};"
        " 408, 424, 425: RFC 9110, RFC 4918, RFC 8470",
        408,
        409,
        424,
        425,
        499,
    ),
    _status(errors.RateLimited, f"{_OPENAI}; 498: https://console.groq.com/docs/flex-processing", 429, 498),
    _status(
        errors.ContextTooLong,
        "Too large for this host: Cerebras and Mistral send it without a body,"
        " https://github.com/earendil-works/pi/blob/main/packages/ai/src/utils/overflow.ts (2026-06)",
        413,
        414,
    ),
    _status(errors.Blocked, "RFC 7725: unavailable for legal reasons", 451),
    # -- words that many errors share, inside a stream ------------------------------------------
    _codes(
        errors.BadRequest,
        "invalid_request invalid_request_error invalid_argument bad_request BadRequestError"
        " ValidationException",
        f"{_OPENAI}; {_GEMINI}; {_BEDROCK}",
        None,
    ),
    _codes(errors.ModelNotFound, "not_found not_found_error NotFoundError", f"{_ANTHROPIC}; {_GEMINI}", None),
    _codes(
        errors.Overloaded,
        "server_error internal internal_error internal_server_error InternalServerError api_error",
        f"{_OPENAI}; {_GEMINI}; {_ANTHROPIC}",
        None,
    ),
)
