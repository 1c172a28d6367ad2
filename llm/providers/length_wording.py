"""What a message about lengths means: the prompt exceeds the window, or a parameter its range.

Every server has its own sentence, so these rules read what exceeds which limit, and the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from llm.providers.wording import Wording, shortened

#: Less room than this for an answer is none.
MIN_ANSWER_TOKENS = 256

_ANSWERS_PARAMETER = Wording(
    r"max(?:imum)?[ _-]?(?:completion|output|new|generated)?[ _-]?tokens?(?:_to_sample)?\b",
    r"max_?length\b|output[ _]tokens?\b|completion[ _]tokens?\b|generation length|num_predict\b",
)
_RANGE = Wording(
    r"range|must be|should be|cannot be|can't be|invalid|too (?:large|big|high|many)|exceeds?",
    r"less than or equal|at most|no more than|up to|(?:greater|larger|higher|lower) than",
    r"maximum (?:allowed|value)|>",
)
_PROMPT_TOO_LONG = Wording(
    r"(?:prompt|input|messages?|conversation) (?:\w+ )?too (?:long|large)",
    r"exceeds? (?:the )?(?:model's )?context|total number of tokens|prompt and (?:prediction|completion)",
)

#: A sum of prompt and answer, or a count of what was sent.
_COUNTS_THE_PROMPT = Wording(
    r"(?:input|prompt|messages?|inputs`?|context)\b.{0,30}(?:tokens?|length)?.{0,6}(?:\+|and|plus) ?.{0,12}"
    r"(?:max|completion|output|\d)",
    r"\d+ (?:tokens )?(?:in|from|of) (?:the|your) (?:messages?|prompt|input|text)",
    r"(?:in|of) (?:your|the) prompt",
    r"your (?:prompt|messages?|request|input) (?:contains?|has|have|resulted)|\d+ input tokens",
    r"reduce the length|at least 1, got -",
)

#: What has a length or size of its own.
_OTHER_SUBJECT = Wording(
    r"\b(?:images?|pixels?|bytes|[km]i?b|audio|video|pages?|pdfs?|files?|attachments?)\b",
    r"\b(?:description|enum|schema|metadata|identifier|function\.?name|stop[ _]?(?:sequences?|words?)?)\b",
    r"\btool(?:_calls?|s)?\b.{0,20}\b(?:name|description)|\buser(?:_?id)?\b.{0,12}(?:too long|string)",
    r"\b(?:temperature|top_[pk]|seed|penalty|logprobs)\b",
)
_CERTAINLY_A_PROMPT = Wording(r"\btokens?\b|context[ _-]?(?:length|window|size)|(?:payload|body) ?size")

_PROMPT = (
    r"(?:prompts?|inputs?|messages?|conversation|sequence|history|query|instructions?|request(?:ed)?|text|content"
    r"|(?:total |input |prompt )?tokens?|token (?:count|limit|length)|context|n_keep|n_prompt_tokens)"
)
_EXCEEDS = (
    r"(?:exceed\w*|surpass\w*|too (?:long|large|big|many)|over(?:flow\w*| the| limit)|above|beyond|out of"
    r"|(?:longer|larger|greater|bigger|more) than|does(?:n't| not) fit|not (?:fit|enough)|shorten|reduce"
    r"|truncat\w*"
    r"|can(?:not|'t) (?:exceed|be (?:longer|larger|more|greater))|(?:must|should) (?:be|have|not)"
    r"|limited to|max(?:imum|\.)?|at most|up to|>=?|<=?)"
)
_SIZE = r"(?:tokens?|length|long|size|context|window|n_ctx|characters|chars|limit)"

_PROMPT_EXCEEDS = Wording(
    rf"\b{_PROMPT}\b.{{0,60}}\b{_EXCEEDS}\b.{{0,80}}\b{_SIZE}\b",
    rf"\b{_PROMPT}\b.{{0,40}}\b{_SIZE}\b.{{0,60}}{_EXCEEDS}",
    r"context[ _-]?(?:length|window|size|limit|overflow)|maximum context|n_ctx|range of input length",
    r"max_?(?:seq|model|context|position|input|prompt)\w*_?(?:len|tokens|length|embeddings)",
    r"\b(?:max(?:imum|\.)?|allowed|configured|supported) (?:\w+ )?(?:prompt|input|context|sequence|model"
    r"|request|message)s? ?(?:tokens?|length|size|count|limit|characters|chars)",
    r"too many (?:\w+ ){0,2}tokens|token limit|maximum (?:number of )?(?:\w+ )?tokens",
    r"(?:prompt|input|request|message|conversation|context)\S* (?:\w+ ){0,4}too (?:long|large)",
    r"(?:input|prompt|context) ?too ?(?:long|large)",
    r"length of .{0,40}(?:messages?|prompt|input).{0,20}too long",
    r"reduce (?:the )?(?:length|size|number) of|(?:use|try|provide) .{0,20}(?:shorter|fewer)",
    r"\btokens?\b.{0,60}[<>]=? ?`?\d|at least 1, got -|expected maxlength",
    r"(?:length|context|tokens?|size) limit (?:is |was |has been )?exceeded",
    r"tokens? in (?:the|your) (?:prompt|input|messages?) exceed",
    r"(?:prompt|input|request|conversation)\b.{0,30}(?:does not|doesn't|do not|don't|cannot|can't|won't) fit",
    r"(?:payload|body|entity|request)\b(?: size)? (?:exceeds|is too large|too large)",
    r"压缩上下文|超长|(?:超过|超出|大于).{0,20}(?:长度|上下文|限制|最大|token)",
    r"(?:长度|上下文|token).{0,20}(?:超|过长|限制)|输入.{0,10}过长",
)


def is_about_the_answers_length(message: str) -> bool:
    """Whether the message refuses the parameter for the answer's length by its own range."""
    if not (_ANSWERS_PARAMETER.found_in(message) and _RANGE.found_in(message)):
        return False
    if _PROMPT_TOO_LONG.found_in(message):
        return False
    window, room = room_for_answer(message)
    if window is not None:
        return room is not None and room >= MIN_ANSWER_TOKENS and "too large" in message
    return not _COUNTS_THE_PROMPT.found_in(message)


def is_about_the_prompts_length(message: str) -> bool:
    """Whether the message says that the prompt, alone or with the answer, is longer than the window."""
    if not _PROMPT_EXCEEDS.found_in(message):
        return False
    return not _OTHER_SUBJECT.found_in(message) or _CERTAINLY_A_PROMPT.found_in(message) is not None


#: A number that stands alone: not a part of a model's name, a date or a version.
_NUMBER = re.compile(
    r"(?<![\w,-])(?<!\w\.)\d{1,3}(?:,\d{3}){1,3}(?![\w-])|(?<![\w-])(?<!\w\.)\d{1,9}(?![\w-]|\.\d)"
)

_A_NUMBER = r"(\d{1,3}(?:,\d{3}){1,3}|\d{1,9})"
#: In order: the sum says more than the first number beside a word.
_WINDOW = (
    Wording(rf"\d \+ [\d,]{{1,12}} > {_A_NUMBER}"),
    Wording(rf"must be <= {_A_NUMBER}"),
    Wording(
        r"(?:context (?:length|window|limit|size)|maximum model length|max_model_len|context)"
        rf"\D{{0,40}}?{_A_NUMBER}"
    ),
)
_SENT = (
    Wording(rf"{_A_NUMBER} \+ [\d,]{{1,12}} > \d"),
    Wording(rf"given: {_A_NUMBER} `?inputs`? tokens|{_A_NUMBER} of text input"),
    Wording(
        rf"{_A_NUMBER} (?:tokens )?(?:in|from|of) (?:the|your) (?:input |text )?(?:messages?|prompt|input)",
        rf"(?:request|prompt|messages?|input)\S* (?:has|contains?|have)(?: at least)? {_A_NUMBER}"
        r" (?:input )?tokens?",
    ),
)


def numbers(message: str) -> list[int]:
    """Return the whole numbers of a message that stand alone, in order."""
    return [_int(found) for found in _NUMBER.findall(shortened(message))]


def room_for_answer(message: str) -> tuple[int | None, int | None]:
    """Return (the window, what the prompt leaves of it for the answer); None for what is not said."""
    window, sent = _first_number(_WINDOW, message), _first_number(_SENT, message)
    return window, None if window is None or sent is None else window - sent


def _first_number(wordings: Iterable[Wording], message: str) -> int | None:
    found = (match for wording in wordings if (match := wording.found_in(message)))
    return next((_int(group) for match in found for group in match.groups() if group), None)


def _int(text: str) -> int:
    return int(text.replace(",", ""))
