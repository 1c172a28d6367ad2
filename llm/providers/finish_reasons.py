"""What the word means with which a provider ends an answer.

Words of ending, of a length limit and of a content filter mean just that, however they are written
(`max_tokens`, `MAX_TOKENS`, `maxTokens`). Every other word, one that is not known too, says that the answer
was not finished: `insufficient_system_resource`, `network_error`, `cancelled`, `timeout`, `abort`.
"""

from __future__ import annotations

import re
from typing import Any

from llm.canonical import Finish

#: OpenAI https://platform.openai.com/docs/api-reference/chat/object,
#: Gemini https://ai.google.dev/api/generate-content#FinishReason,
#: Anthropic https://docs.claude.com/en/api/handling-stop-reasons,
#: Mistral https://docs.mistral.ai/api/ (`model_length`), Cohere https://docs.cohere.com/reference/chat,
#: Z.ai https://docs.z.ai/api-reference/llm/chat-completion (`sensitive`),
#: Bedrock https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
#: Text Generation Inference https://huggingface.co/docs/text-generation-inference (all 2026-11).
_BY_FINISH: dict[Finish, str] = {
    "stop": "stop stopped stop_sequence stop_string stop_token end end_turn end_of_turn end_of_text "
    "end_of_sequence eos eos_token eot complete completed finish finished done",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "length": "length max_tokens max_token max_length max_output_tokens max_completion_tokens "
    "max_new_tokens max_tokens_reached token_limit length_limit model_length continuation context_length "
    "context_length_exceeded context_window_exceeded model_context_window_exceeded",
    "blocked": "content_filter content_filtered contentfilter refusal safety blocked blocklist recitation "
    "prohibited_content spii language sensitive moderation policy_violation content_policy "
    "content_policy_violation guardrail guardrail_intervened error_toxic image_safety "
    "image_prohibited_content image_recitation",
}

_WORDS: dict[str, Finish] = {word: finish for finish, words in _BY_FINISH.items() for word in words.split()}

#: Not the output but input and output together reached a limit.
_WINDOW = {
    "context_length",
    "context_length_exceeded",
    "context_window_exceeded",
    "model_context_window_exceeded",
}

#: The model wrote what its provider could not read as a call of a tool, or as an answer.
_BY_MODEL = {
    "malformed_function_call",
    "malformed_tool_call",
    "malformed_response",
    "unexpected_tool_call",
    "too_many_tool_calls",
    "repetition",
}

#: DashScope's native API has the text "null" until the end:
#: https://help.aliyun.com/zh/model-studio/qwen-api-reference (2026-11)
_NONE = {"", "null", "none", "unspecified", "finish_reason_unspecified"}

#: Of two words for one answer the worse one counts.
_SEVERITY: list[Finish | None] = [None, "stop", "tool_calls", "length", "blocked", "error"]


def finish_of(reason: Any) -> Finish | None:
    """Return what the word means; None for none, `error` for one that is not known."""
    word = _normalized(reason_of(reason))
    return None if word in _NONE else _WORDS.get(word, "error")


def reason_of(value: Any) -> str:
    """Return the word in what stands in its place: a text or an object with one; "" for anything else."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("type", "reason", "name") if value.get(name)), "")
    return value if isinstance(value, str) else ""


def worse(one: Finish | None, other: Finish | None) -> Finish | None:
    return max(one, other, key=_SEVERITY.index)


def is_full_window(reason: str) -> bool:
    """Whether the word says that the context window is full."""
    return _normalized(reason) in _WINDOW


def is_by_model(reason: str) -> bool:
    """Whether the word says that the model, and not its provider, failed."""
    return _normalized(reason) in _BY_MODEL


def _normalized(reason: str) -> str:
    """Return the word in snake case, without the prefix that enumerations have (`FINISH_REASON_STOP`)."""
    word = reason.strip()[:100]
    if not word.isupper():
        word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word)
    word = re.sub(r"[\s.-]+", "_", word.lower())
    return word if word in _NONE else word.removeprefix("finish_reason_").removeprefix("finishreason_")
