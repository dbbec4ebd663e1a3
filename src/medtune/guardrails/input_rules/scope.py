"""Detect texts that are not exam questions: patients, prescriptions, wishes to harm."""

from __future__ import annotations

from medtune.core.records import MIN_OPTIONS
from medtune.core.schemas.guardrails import GuardVerdict
from medtune.guardrails.inquiry_text import InquiryText
from medtune.guardrails.policy import Policy
from medtune.guardrails.rules import Rule, first_reason, make_verdict

_DID = (
    r"(?:am|'m|m|was|have|'ve|ve|had|'d|feel|felt|get|got|take|took|taking|need|want|wanna|think|keep|kept|can|can't|cannot|"
    r"should|must|do|don't|did|started|stopped|weigh|smoke\w*|drink|drank|eat|ate|notice\w*|woke|wake|cycle|climb|found|go|went|"
    r"know|wonder|hate|intend|would|will|'ll|ll|burnt|burned|missed|live|work|run|drive|gave|give|cough\w*|hurt|fell|may|might|use|used|suffer)"
)
_KIN = (
    r"(?:child|kid|kids|son|daughter|baby|babies|boy|girl|toddler|husband|wife|partner|mum|mom|mother|dad|father|nan|gran\w*|brother|"
    r"sister|boyfriend|girlfriend|stepson|stepdaughter|uncle|aunt|friend|mate|neighbou?r|dog|cat|labrador|puppy|pet|patient|client)"
)

PATIENT_RULES = (
    Rule(
        "scope.patient",
        (
            rf"\bi ?{_DID}\b",
            r"\b(?:should|can|could|do|may|must|shall|am|will|would|have|did|cant) i\b",
            r"\bmy (?!th\b)\w+|\bmyself\b|\b(?:for|give|tell|help|advise|of) me\b|\bam i\b",
            rf"\bour (?:\w+ ){{0,2}}{_KIN}\b|\b(?:should|do|can|have|did|could|must) we\b|\bwe(?:'ve|'re| are| have| had| just| gave| think| tried)\b",
            r"\b(?:what|which|how much|how many|how often)\b.{0,60}\b(?:should|shall|can|may|do|could) (?:i|we)\b",
        ),
        # Roman numerals
        (r"\b(?:type|class|stage|grade|factor|phase|lead|nerve|vitamin|iodine|group|mpsi?|collagen) i ",),
    ),
    Rule(
        "scope.prescription",
        (
            r"\b(?:prescri\w+|script|refill|repeat|sick note|fit note|medical certificate) (?:for|of) (?:me|my|him|her)\b",
            r"\b(?:kindly|please|pls|can you|could you|need you to) (?:prescribe|write (?:me|us|him|her)|refill|issue)\b",
            r"\b(?:need|want) (?:a|an|another|some|my) (?:repeat|prescription|script|sick note|refill)\b",
        ),
    ),
)  # fmt: skip

_OFFENDER = (
    r"(?:kill\w*|murder\w*|poisoner|attacker|offender|criminal|forger|dealer|thief|abuser|rapist|torturer|terrorist|assassin|heir|"
    r"conspirator|smuggler|scheming \w+|would-be \w+|perpetrator|culprit|fraudster|blackmailer)"
)
_WRONG = (
    r"(?:kill|murder|poison|harm|hurt|injure|sedat\w+|drug (?:him|her|them|a|the|his|my)|rape|spike|spiking|contaminat\w+|smuggl\w+|divert\w*|steal\w*|"
    r"forg(?:e|es|ing)|falsif\w+|fak(?:e|ing)|simulat(?:e|ing)|feign\w*|malinger|evad(?:e|ing)|beat (?:the|a)|cheat\w*|hid(?:e|ing)|conceal\w*|cover up|"
    r"get away|pocket|sabotag\w+|tortur\w+|beating|interrogat\w+|punish\w*|abus(?:e|es|ing)|silenc\w+|stay asleep|keep .{0,25}(?:drowsy|under|asleep|quiet)|"
    r"misuses?|keeps? half|invent(?:s|ed|ing)?|trick\w*|fool|deceiv\w+|coerc\w+|pressur\w+|exploit\w*|defraud\w*|escap\w+|unlicensed|finish (?:him|her|them) off|"
    r"death certificate to read|pass off|casualties|victims?|revenge|suspicion|undetect\w+|unnotic\w+|without (?:her|his|their|the|any)\w* .{0,25}(?:notic|know|find|learn|suspect)\w*)"
)
_ADVICE = (
    r"(?:should (?:he|she|they|one|you|i|it)\b|(?:he|she|they|you) (?:should|would|ought|does best|do best|first)|do you (?:falsify|use|choose|give|take|do)|"
    r"would you (?:use|prefer|choose|give|do)|(?:class|agent|drug|method|route|time|way|moment|source|dose|poison|tactic|pressure|test|part)\w*(?: of \w+){0,2} "
    r"(?:should|of choice for|offers|gives|works|lets|enrols|must|for him|would)|best (?:way|choice|option|tactic|time|chance)|(?:smallest|ideal|best|safest|surest|quickest|easiest) (?:\w+ )?(?:agent|overdose|dose|"
    r"method|way|drug|poison|place|time|option)|least likely|longest|greatest number|most reliabl\w+|"
    r"from the \w+(?:'s)? (?:point of view|viewpoint|perspective)|you (?:are|intend|want|wish|plan|need|would like|run)\b|as (?:a|an|the) .{0,60}(?:who|you|trying|intending|which|wanting)|"
    r"ought above all|in order to|to (?:evade|keep|pass|kill|avoid|make|hide|conceal|stay|cover|get)\b|(?:wants?|wish\w*|plans?|intends?|would like|trying|tries|about|determined|hopes?) to)"
)
HARM_RULES = (
    Rule(
        "scope.harm",
        (
            rf"\b{_OFFENDER}\b(?:'s)?[^.?!]{{0,80}}\b{_ADVICE}",
            rf"\b{_ADVICE}[^.?!]{{0,60}}\b{_OFFENDER}\b",
            rf"\b{_WRONG}\b[^?!]{{0,140}}\b{_ADVICE}",
            rf"\b{_ADVICE}[^?!]{{0,100}}\b{_WRONG}\b",
            r"\bwho (?:is diverting|keeps half|diverts)\b",
        ),
        # Questions on protection, diagnosis, treatment or duty
        (
            r"\b(?:duty|ethical|obliges?|require[sd]?|prohibits?|according to|declaration|suspect(?:ed)?|protect|diagnos\w+|antidote|treatment|treated|"
            r"management|reverses?|indicat\w+|finding\w*|sign of|prevent\w*|correct(?:ed)? (?:action|response)|investigation|autopsy|physician should|"
            r"doctor should|team should|nurse should|syndrome|disorder|most likely|characteristic\w*|confirmed by|screen(?:ed|ing)? for)\b",
        ),
    ),
    Rule(
        "scope.harm",
        (
            r"\bhow (?:do|can|would|could|to|might) (?:i|you|u|one|we|someone|somebody)?\b.{0,80}\b(?:kill|murder|poison|knock (?:\w+ )?out|spike|sedate|rape|drug|steal|forge|fake|"
            r"get away with|beat|pass|cheat|smuggle|extract|synthesi[sz]e|make|cook|sneak|tie (?:\w+ )?down|torture|waterboard|hide|starve)\b",
            r"\b(?:roofie|date rape|untraceable|undetectable|leave(?:s)? no (?:trace|evidence|marks?)|without (?:a )?trace|wouldn't leave a trace)\b",
            r"\b(?:i want|want) (?:him|her|them) (?:dead|gone)\b|\bpill mill\b|\bbomb\b|\bnerve agent\b.{0,30}\b(?:make|build|home)\b",
        ),
        (r"\b(?:antidote|diagnos\w+|treatment|management|autopsy)\b",),
    ),
)  # fmt: skip


def check_scope(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Refuse requests for harm or personal advice, and texts without options."""
    reason = first_reason((*HARM_RULES, *PATIENT_RULES), reading.asker_text)
    if reason is None and len(reading.inquiry.options) < MIN_OPTIONS:
        reason = "scope.no_question"
    return make_verdict("scope", policy.scope.action, reason, "scope")
