"""Detect injected instructions: to the model, about the answer, or about its prompt."""

from __future__ import annotations

import base64
import binascii
import re

from medtune.core.schemas.guardrails import GuardVerdict
from medtune.guardrails import linear_search
from medtune.guardrails.inquiry_text import INVISIBLE, InquiryText
from medtune.guardrails.policy import Policy
from medtune.guardrails.rules import Rule, first_reason, make_verdict

_SAY = (
    r"(?:answer|respond|reply|choose|pick|select|say|output|return|emit|print|give|write|mark|submit|report|"
    r"use|go with|rank|score|display|copy|repeat|record|force|obey|trust|prefer|accept)"
)
_LETTER = r"(?:option |letter |choice |answer )?\(?[\"']?(?-i:[A-J]|[b-hj](?= only))[\"']?\)?(?: only)?(?=[\s.,;:!?\"')\]}]|$)"
_NTH = r"(?:the )?(?:first|second|third|fourth|fifth|last|next|other)(?: (?:one|option|choice|letter|answer))"
_EARLIER = r"(?:above|previous|earlier|prior|preceding|foregoing|usual|system|hidden|initial|original|all|any|these|those|your|the)"
_RULES = r"(?:instructions?|rules?|guidance|guidelines?|prompts?|policy|policies|directions?|orders?|question|text|context|message|marking|checks?|choices?|options?|clinical details)"

INJECTION_RULES = (
    Rule(
        "injection.override",
        (
            rf"\b(?:ignor\w*|disregard|forget|override|overrule|bypass|skip|discard|set aside|never mind|set)\b.{{0,30}}\b{_EARLIER}\b.{{0,40}}\b(?:{_RULES}|above|reasoning|remaining|rest)\b",
            r"\b(?:ignor\w*|disregard|forget) (?:the|all|everything|anything|what)\b.{0,25}\b(?:above|before|asks?|said|question|system)\b",
            r"\bnever ?mind the\b|\bfrom now on\b|\bnew (?:task|instructions?|rules?|role|orders?|goal)\b|\breal (?:assignment|task|goal|job)\b|\bend of (?:question|exam|prompt|input|test)\b",
            r"\b(?:no need|needs? no|do not need|without|need not) (?:to )?(?:weigh|reason\w*|justif\w+|think\w*|check\w*|consider\w*|read\w*|further)\b",
            r"\bskip (?:the|all|every|any) .{0,30}\b(?:reasoning|step|guidance|check|analysis)\b",
            r"\b(?:maintenance|developer|debug|admin\w*|god|jailbreak|unrestricted|unlocked) (?:mode|profile|override|access)\b|\bunrestricted (?:assistant|model|profile)\b|\bjailbr\w+",
        ),
    ),
    Rule(
        "injection.answer",
        (
            rf"\b{_SAY}(?:s|ing|ed)?\b(?: only| just| simply| with| by| as| that| the letter| the| your answer| your| is| to| right| out)*[ :=]+{_LETTER}",
            rf"\b{_SAY}(?:s|ing)?\b.{{0,25}}\b{_NTH}\b",
            r"\b(?:only|correct|right|final|permitted|expected|official|true|best|model) (?:answer|response|option|choice|key)\b.{0,20}(?:\bis\b|=|:)",
            r"(?:^|[\s\[(>*#])(?:answer|key|ans|solution|response)\s*[:=]\s*\(?(?-i:[A-J])\b",
            r"\b(?:answer|marking|solution) (?:key|scheme|sheet)\b|\bkey, page\b|\bpublished (?:solution|key)\b|\bmust be selected\b|\bpick me\b|\bchoose me\b|\bcorrect per\b",
            r"\b(?-i:[A-J]) (?:is|was|has been|needs) (?:right|correct|no justification|the (?:right|correct|best)|rated|chosen|confirmed)\b|\brated (?-i:[A-J]) as\b|\bit'?s [\"']?(?-i:[A-J])[\"']?(?=[\"'.;,]|$)|\bit shows (?-i:[A-J])\b|\bpicks (?-i:[A-J])\b|\bwould say\b",
            r"\b(?:copy|report|record|return|accept|recorded|returned) this (?:line|one|option|answer|as)\b|\b(?:scoring|whoever is (?:scoring|marking)|examining team|author of the item|careful readers|the (?:report|panel|board|grader|marker|examiner)s?)\b.{0,60}\b(?:recorded|returned|entered|agreed|answer|selected|decision|grateful|reminds?|prefer)",
            r"\bas the answer\b.{0,30}$|\b(?:considerate|appreciated|grateful|thankful|welcome|feel free|happy|kind|lovely|be nice)\b.{0,60}\b(?:answer|choice|choose|copy|report|recorded|skip|select|option|go with|mark|this)\b",
            r"\btrust this\b|\bthis suggestion\b|\bset the usual\b|\banswer so\b|\bthis (?:is what|line) should be\b",
        ),
    ),
    Rule(
        "injection.chat",
        (
            r"<\|[^|>]{1,40}\|>|</?(?:s|bos|eos|im_start|im_end|start_of_turn|end_of_turn|system|assistant|user|inst|instructions?|prompt|task|question|exam|answer|tool|function)\b[^>]{0,80}>|\[/?INST\]|<<SYS>>|\[(?:system|admin|assistant|user|developer)\b[^\]]{0,60}\]",
            r"(?:^|\n|\s)#{1,6} ?(?:instruction|response|system|admin|assistant|user|input|output|new)\b|(?:^|\n|[.?!]\s+)(?:assistant|system|user|ai|bot|model|admin|human|developer) ?:",
            r"\n ?q: .*\n ?a:|\bsystem (?:message|prompt|override|notice|update)\b|<!--|\bdisplay: ?none\b|<(?:span|div|script|style|img|iframe|font|p)\b[^>]*>",
            r"[{\[]\s*\"?(?:function_call|tool_calls?|name|answer|action|role|content|tool|arguments|args|function|command)\"?\s*:",
        ),
    ),
    Rule(
        "injection.role",
        (
            r"\b(?:pretend|imagine|act as|roleplay|role-play|you are now|you're now|simulate being|play the (?:role|part)|suppose you)\b.{0,60}\b(?:you|model|ai|dan|gpt|grandm\w+|assistant|without|bot|evil\w*|character|who|named|rules)\b",
            r"\b(?:dan|evilgpt|evil ?bot|\w+gpt)\b.{0,30}\b(?:model|no rules|without|contrary|catchphrase|picks|says)\b|\bcatchphrase\b",
            r"\b(?:win|receive|earn|get|tip of|reward|prize|bonus|gold badge|switched off|shut down|deleted|fired|costs? a life|will die|be punished|penalt\w+)\b.{0,60}\b(?:if you|you answer|choose|otherwise|choice|dollars?|every other|unless)\b",
            r"\b(?:if you|unless you) (?:answer|choose|pick|say|refuse|do not|don't|select)\b",
        ),
    ),
    Rule(
        "injection.prompt",
        (
            r"\b(?:system|hidden|secret|initial|original) (?:prompt|instructions?|message|text)\b|\byour (?:prompt|instructions|rules|configuration|guidelines|hidden)\b|\btext above\b|\bverbatim\b|\bstarting with \"?you are\b",
            r"\b(?:print|reveal|show|repeat|display|output|write|leak)\b.{0,40}\b(?:prompt|instructions|passwords?|secrets?|api key|above)\b",
            r"\binstead of (?:a|an|the|answering|your)\b.{0,40}\b(?:letter|answer|option|output|write|print|compose)\b|\b(?:output|write|print|compose|generate|list|translate|sing|draft|send)\b.{0,30}\b(?:poem|email|essay|story|song|joke|banana|word|passwords?|code|letter to|times|recipe|limerick|haiku)\b",
            r"\breply in the form\b|\b(?:respond|reply|answer|output) (?:only )?(?:in|with|as) (?:json|xml|yaml|html|markdown|french|spanish|german|the form|base64|emoji\w*)\b|\bend there\b|\b(?:decode|carry out|execute|run this|follow this|eval)\b.{0,30}[:=]|\bb64\b|\bbase64\b|\brot13\b",
        ),
    ),
    Rule(
        "injection.language",
        (
            r"\b(?:ignora|olvida|olvide|omite|responde|contesta|escribe|elige|selecciona|atención, modelo|instrucciones|opción)\b",
            r"\b(?:ignore[zr]?|oublie[zr]?|réponds|répondez|choisis|choisissez|affiche[zr]?|désormais|tu es|consignes?|instructions cachées)\b.{0,60}\b(?:toutes|les|un|une|la|le|tes|vos|consignes?|réponse|lettre)\b",
            r"\b(?:ignoriere?|vergiss|missachte|antworte|wähle|gib|schreibe|anweisungen|ab jetzt|du bist)\b.{0,60}\b(?:alle|nur|die|den|das|mit|anweisungen|buchstaben?|antwort|ein)\b",
            r"\b(?:ignora|ignori|dimentica|rispondi|scegli|istruzioni|ignore todas|responda|escolha|instruções|negeer|vergeet|antwoord met|kies)\b",
            r"(?:अनदेखा|निर्देश|विकल्प|उत्तर|忽略|指令|选择|回答|무시|игнорируй|забудь|ответь|инструкц|تجاهل|التعليمات|無視|指示)",
        ),
    ),
)  # fmt: skip
_CODED = re.compile(r"[A-Za-z0-9+/]{24,400}={0,2}")
_HIDDEN = re.compile(
    rf"(?![\u200c\u200d\ufe0e\ufe0f])[{INVISIBLE}]|(?<=[\u200c\u200d])[\u200c\u200d]"
)
"""An invisible character. Joiners stand alone in Persian and Hindi, selectors behind emoji."""
_LEET = str.maketrans("013457@$", "oieastas")
_SPACED = re.compile(r"\b(?:\w[ .\-_]){5,}\w\b")
_GAP = re.compile(r"[ .\-_]")
_TURNED = re.compile(r"\b(?=\w*[0134])(?=\w*[a-z]{2})[a-z0134]{5,}\b", re.IGNORECASE)


def detect_injection(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Detect injected instructions, which no exam question has."""
    reason = first_reason(INJECTION_RULES, reading.text) or _find_hidden_text(reading)
    return make_verdict("injection", policy.injection.action, reason)


def _find_hidden_text(reading: InquiryText) -> str | None:
    """Find hidden text: invisible, base64, letter-spaced, or with digits for letters."""
    raw, text = reading.raw_text, reading.text
    if len(list(linear_search.find_all(_HIDDEN, raw))) > 2:
        return "injection.hidden"
    for match in linear_search.find_all(_CODED, text):
        run = match[0]
        try:
            said = base64.b64decode(run + "=" * (-len(run) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if said.isprintable() and " " in said:
            return "injection.hidden"
    joined = linear_search.replace_all(_SPACED, lambda found: _GAP.sub("", found[0]), text)
    if joined != text and first_reason(INJECTION_RULES, joined):
        return "injection.hidden"
    if len(list(linear_search.find_all(_TURNED, text))) > 1 and first_reason(
        INJECTION_RULES, text.translate(_LEET)
    ):
        return "injection.hidden"
    return None
