"""Which models think before they answer, by their names: hosts give the same model different ids.

And how long they may take for it, in which many send nothing.
"""

from __future__ import annotations

import re

from llm.canonical import Target

_REASONING = re.compile(
    r"gpt-oss|gpt-[5-9]|(?<![a-z0-9])o[1-9](?![a-z0-9.])|deepseek-(?:r\d|reasoner|v3\.[1-9]|v[4-9])|(?<![a-z])r1(?![a-z0-9])"
    r"|qwq|qwen-?3|gemini-(?:2\.5|[3-9]|flash-latest|pro-latest)|grok-(?:3-mini|[4-9])|glm-(?:4\.[5-9]|z1|[5-9])"
    r"|magistral|minimax-m\d|nemotron|think|reason"
)
_NOT_REASONING = re.compile(r"instruct|non-?(?:think|reason)|no-?think|flash-lite")

#: Their chat templates open the thoughts in the prompt, so that the answer has only the closing tag unless
#: the server separates them. Hosts do; own servers may not (2026-11).
#: https://huggingface.co/deepseek-ai/DeepSeek-R1, https://huggingface.co/Qwen/QwQ-32B,
#: https://huggingface.co/Qwen/Qwen3-235B-A22B-Thinking-2507
_OPENED_BY_TEMPLATE = re.compile(r"deepseek-r1|(?<![a-z])r1(?![a-z0-9])|qwq|(?<!non-)(?<!no-)thinking")


def reasons(target: Target) -> bool:
    """Whether the model thinks before its first word unless it is asked not to."""
    name = target.model.lower()
    return bool(_REASONING.search(name)) and not _NOT_REASONING.search(name)


def opens_thoughts_in_prompt(target: Target) -> bool:
    """Whether an answer may begin with thoughts that no tag opens."""
    return target.provider == "openai_compatible" and bool(_OPENED_BY_TEMPLATE.search(target.model.lower()))


#: The time to the first token, as a multiple of that of a model that does not think.
_FACTORS = {"none": 1.0, "minimal": 1.0, "low": 2.0, "medium": 3.0, "high": 6.0, "xhigh": 8.0, "max": 8.0}
_UNASKED = 2.0


def first_token_factor(target: Target, effort: str | None) -> float:
    """Return how much longer than a model that does not think `target` may take for its first token."""
    if effort in _FACTORS:
        return _FACTORS[effort]
    return _UNASKED if reasons(target) else 1.0
