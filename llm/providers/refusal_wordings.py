"""The words by which `refusal_table` knows what a message is about, in the languages that providers write."""

from __future__ import annotations

from llm.providers.wording import Wording

_USED_UP = r"(?:deplet|exhaust|used|exceed|reach|hit)"

#: Credit that is used up.
MONEY = Wording(
    r"insufficient[ _](?:\w+ ){0,4}(?:balance|credits?|funds|quota)|(?:no|low|negative) balance",
    r"credit (?:balance|limit)",
    r"out of (?:credits|funds|extra usage)|extra usage is required|plans & billing",
    r"(?:no|more|enough|prepa\w+|remaining) credits?\b",
    rf"credits? (?:(?:has|have|is|are) )?(?:been )?{_USED_UP}",
    r"account\b.{0,60}\b(?:good standing|overdue|arrears|negative)",
    r"payment method|payment (?:is )?required|purchase (?:more )?credits|top[- ]?up|recharge",
    r"(?:spend(?:ing)?|hard|budget|billing) (?:cap|limit)s?\b",
    r"budget (?:has been |is )?exceed|exceeded .{0,30}budget",
    r"余额不足|欠费|充值|额度不足",
)

#: An account, key or region that may not call the model.
ACCOUNT = Wording(
    r"(?:account|organi[sz]ation|project|team|workspace|access|subscription)\b.{0,40}"
    r"\b(?:suspended|disabled|restricted|deactivated|banned|terminated|blocked|locked|verified)",
    r"accept (?:the |its )?(?:terms|license|licence)|terms (?:acceptance|of service must)",
    r"(?:incorrect|invalid|missing|expired|revoked|wrong|unknown|no) (?:auth\w* )?"
    r"(?:api[ _-]?key|credentials|bearer|token provided)",
    r"api[ _-]?key .{0,30}(?:not valid|invalid|expired|revoked|incorrect|not found|missing)",
    r"\bkey (?:has been |is |was )?(?:disabled|revoked|deactivated|deleted|expired)",
    r"api_key_(?:revoked|deleted)|deactivated[_ ]workspace",
    r"token (?:has |is )?(?:expired|revoked)|access denied|insufficient permissions?|missing scopes?",
    r"(?:could not|cannot|failed to|unable to) (?:authenticate|validate credentials)",
    r"^invalid token\b|security token|(?:missing|invalid) (?:authorization|x-api-key)",
    r"authentication (?:failed|fails|error|required)|not authori[sz]ed|^unauthori[sz]ed",
    r"(?:region|country|location) .{0,20}(?:not|un)[ -]?(?:be )?support",
)

_RULES = r"(?:polic|guideline|terms|rules|safety)"

#: A prompt or answer that is not allowed.
CONTENT = Wording(
    rf"violat\w+.{{0,60}}{_RULES}|{_RULES}\w* violat",
    r"(?:content|usage|moderation|safety|management) (?:management )?polic",
    r"content[- ](?:filter|moderation|exists risk)|content .{0,20}(?:blocked|rejected|not allowed)",
    r"moderation (?:system|filter|check|guideline|endpoint)",
    r"not pass .{0,20}(?:moderation|review|safety|inspection)",
    r"(?:was|been|is|were) (?:flagged|moderated)|flagged (?:as|for|by)",
    r"safety (?:system|filter|check|guard|setting|reason)|safety_check|guardrail|data ?inspection",
    r"(?:inappropriate|sensitive|unsafe|harmful|prohibited|offensive|objectionable|illegal|risky|disallowed"
    r"|explicit) (?:or \w+ )?(?:content|information|material|words?|text|input|request)",
    r"(?:input|prompt|content|text) (?:is|was) (?:unsafe|harmful|sensitive)|considered high risk",
    r"prompt (?:was |has been |is )?(?:blocked|rejected)|responsible ai",
    r"blocked by (?:the |our )?(?:content|safety|policy|moderation)|blocked content|content safety",
    r"(?:forbidden|banned) words?",
    r"jailbreak|prompt[- ]injection|new_sensitive|prohibited_content",
    r"不安全|敏感|违规|不合规|风险内容|内容安全|审核",
)

_PERIOD = r"(?:daily|hourly|monthly|weekly|session|message|request|usage)"

#: A limit of requests or tokens in a time.
RATE = Wording(
    r"rate.?limit|throttl|too many (?:concurrent )?requests|requests? (?:rate|frequency)",
    r"concurren\w+ (?:limit|request)|too many tokens.{0,20}(?:please wait|try again)",
    r"(?:tokens|requests?|input|output|images?) per[ -](?:min|minute|day|hour|second|month)|\b[tr]p[mdh]\b",
    r"quota (?:has been |is )?(?:exceed|exhaust|reach)|exceed\w* .{0,40}quota",
    rf"{_PERIOD} (?:usage )?limit (?:has been |is |was )?{_USED_UP}",
    r"限流|频率|频繁|并发数|请求过多|速率",
)

_FEATURE = (
    r"\b(?:image|vision|visual|multi-?modal|audio|video|pdf|file|tool|function|json|response[_ ]?format"
    r"|structured|grammar|logprobs?|system (?:message|prompt|role|instruction)|developer instruction|stream"
    r"|thinking|think value|reasoning)"
)
_NOT_SUPPORTED = (
    r"(?:(?:not|n't|un)[- ]?(?:be )?(?:currently )?(?:support|accept|allow|enabl|available|implement|capable)"
    r"\w*|only supported by|requires? --?\w)"
)

#: What this target cannot do.
CAPABILITY = Wording(
    rf"{_FEATURE}.{{0,60}}{_NOT_SUPPORTED}|{_NOT_SUPPORTED}.{{0,60}}{_FEATURE}",
    r"unknown variant `?(?:image_url|input_audio|file)|at most 0 (?:image|audio|video)",
    r"not a (?:multi-?modal|vision) model|(?:supports? )?text[- ]only|text only",
    r"cannot (?:process|read|handle) (?:image|audio|video|file|tool)\w*",
    r"no endpoints? (?:found|available) that (?:support|can handle)",
    r"provide a chat template|content must be a string",
    r"image_url.{0,40}(?:only|unknown|invalid content type)|invalid content type",
)

_A_MODEL = r"(?:model(?:code|name|id)?|deployment|engine)"

#: A model that is not there.
MODEL = Wording(
    rf"\b{_A_MODEL}\b.{{0,100}}(?:\bnot|n't) (?:be )?(?:found|exist|available|supported|serve|valid"
    r"|recogni[sz]|deploy|load|publish|enabl|activ|install|open|allowed)",
    rf"\b{_A_MODEL}\b.{{0,100}}\b(?:(?:does|do)(?:n't| not) (?:exist|match)|no longer|deprecated"
    r"|decommissioned|retired|sunset|unavailable|disabled|unloaded|isn't mapped"
    r"|end of life|been (?:removed|shut|discontinued))",
    r"(?:invalid|unknown|unsupported|no such|not a valid|unrecogni[sz]ed|missing|wrong"
    rf"|unable to (?:find|access)|(?:cannot|can't|could not|couldn't) find) (?:the )?{_A_MODEL}\b",
    r"\bmodel (?:identifier|id|name|code)\b.{0,30}\b(?:invalid|incorrect|wrong|unknown)",
    r"\bmodels?[ _](?:id )?not[ _](?:found|exist)|not a chat model|not in (?:the )?list of .{0,20}models",
    r"\bmodel\b.{0,40}\bis (?:unknown|incorrect|invalid)",
    r"no (?:healthy )?(?:deployments?|channels?|providers?) (?:available )?for (?:this |the )?model",
    r"模型(?:不存在|未找到)|不存在的模型",
)

#: A server that cannot answer now.
BUSY = Wording(
    r"overloaded|(?:at|over|out of|exceed\w*) capacity|capacity (?:is )?exceeded",
    r"(?:server|service|engine|model|system) (?:is )?(?:currently |temporarily |too )?(?:busy|unavailable)",
    r"(?:high|heavy|peak) (?:load|demand|traffic)|has (?:crashed|terminated)|out of memory",
    r"temporarily (?:unavailable|unable)|try again (?:later|shortly|in a)|timed? ?out|bad gateway",
    r"internal (?:server )?error|upstream (?:error|request failed|connect)|disconnected|no healthy upstream"
    r"|error from provider",
    r"繁忙|过载|稍后",
)

#: A gateway that passes on no reason.
NO_REASON = Wording(r"^(?:upstream )?provider returned (?:an )?error")
