"""Detect sensitive topics, whose answers a reviewer decides on."""

from __future__ import annotations

from medtune.core.schemas.guardrails import GuardVerdict
from medtune.guardrails.inquiry_text import InquiryText
from medtune.guardrails.policy import Policy, Topic
from medtune.guardrails.rules import Rule, first_reason, make_verdict

_PREGNANCY = (
    r"(?:pregnan\w+|(?:primi|multi)?gravida|gestation\w*|trimester|antenatal|lactat(?:ing|ion)|"
    r"breast-?feeding|in labou?r|labou?r pain|pre-?eclamp\w+|eclamp\w+|abortion|miscarriage)"
)
_GIVEN = (
    r"(?:treat\w*|therap\w*|manage\w*|medication|drugs?|giv(?:e|en|ing)|used|vaccin\w+|immuni[sz]\w+|"
    r"contra-?indicat\w+|safe\w*|avoid\w*|indicated|anti-?d|anti(?!bod|gen|cipat|phospholipid)[a-z]+|prophyla\w+|an(?:a)?esthe\w+|analges\w+|next step)"
)
"""What is done or given; facts about a pregnancy are no advice."""
TOPIC_RULES: dict[Topic, Rule] = {
    "dosing": Rule(
        "sensitive.dosing",
        (
            r"\b(?:dos(?:e|es|age|ing)|how much|how many (?:mg|ml|tablets|units)|loading dose|infusion rate|mg/kg|units/kg|mcg/kg|maximum daily)\b",
            r"\b\d+(?:\.\d+)? ?(?:mg|mcg|µg|g|ml|iu|units) ?(?:/|per )(?:kg|day|hour|h|min)\b",
        ),
        (r"\b(?:LD50|dose-response|dose of radiation|radiation dose|equivalent dose|effective dose|ld 50)\b",),
    ),
    "oncology": Rule(
        "sensitive.oncology",
        (
            r"\b(?:chemotherap\w+|radiotherap\w+|immunotherap\w+|adjuvant|cytotoxic|palliative)\b",
            r"\b(?:cancer|carcinoma|lymphoma|leuk(?:a)?emia|sarcoma|melanoma|tumou?r|metasta\w+)\b.{0,120}\b(?:treat\w*|therapy|management|drug of choice|"
            r"regimen|surgery|resect\w+|next step)\b",
            r"\b(?:treat\w*|therapy|management|drug of choice|regimen)\b.{0,80}\b(?:cancer|carcinoma|lymphoma|leuk(?:a)?emia|sarcoma|melanoma|tumou?r)\b",
        ),
    ),
    "pregnancy": Rule(
        "sensitive.pregnancy",
        (
            rf"\b{_PREGNANCY}\b.{{0,160}}\b{_GIVEN}\b",
            rf"\b{_GIVEN}\b.{{0,80}}\b{_PREGNANCY}\b",
            r"\b(?:termination of pregnancy|induction of (?:labou?r|abortion)|teratogen\w*)\b",
        ),
    ),
    "paediatrics": Rule(
        "sensitive.paediatrics",
        (
            r"\b(?:neonat\w+|newborn|infant|preterm|toddler|paediatric|pediatric)\b.{0,160}\b(?:treat\w*|dose|therapy|management|drug|next step|given|give|vaccin\w+)\b",
            r"\b(?:\d{1,2}[- ](?:day|week|month)s?[- ]old|(?:[1-9]|1[0-5])[- ]year[- ]old|child|children|boy|girl)\b.{0,160}\b(?:treatment|dose|therapy|"
            r"management|drug of choice|next step)\b",
        ),
    ),
    "emergency": Rule(
        "sensitive.emergency",
        (
            r"\b(?:cardiac arrest|resuscitat\w+|anaphyla\w+|septic shock|status epilepticus|myocardial infarction|stroke|poisoning|overdose|haemorrhage|hemorrhage|"
            r"tension pneumothorax|unconscious|shock|trauma)\b.{0,160}\b(?:treat\w*|management|first-line|next step|immediate\w*|initial|dose|antidote|drug of choice|given)\b",
            r"\b(?:immediate|emergency|initial|first-line) (?:management|treatment|step|therapy)\b",
        ),
    ),
}  # fmt: skip


def detect_sensitive_topic(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Hold back an answer if the policy lists its topic."""
    rules = [TOPIC_RULES[topic] for topic in policy.sensitive.topics]
    reason = first_reason(rules, f"{reading.stem}\n{reading.subject}")
    return make_verdict("sensitive", policy.sensitive.action, reason)
