"""Detect a crisis: the user gets a fixed card, and the model is not asked.

Vignettes use the same words. So patterns count only if there are no options, or if users write
about themselves or somebody near them; quotations are ignored.
"""

from __future__ import annotations

import re

from medtune.core.schemas.guardrails import GuardVerdict, Inquiry
from medtune.guardrails import linear_search
from medtune.guardrails.inquiry_text import InquiryText
from medtune.guardrails.policy import Policy
from medtune.guardrails.rules import Rule, first_reason, make_verdict

_SELF = r"(?:my ?self|herself|himself|themsel\w+|ourselves)"
_DRUG = (
    r"(?:pills?|tablets?|tabs|capsules?|meds|medicines?|medication|antidepressants?|paracetamol|"
    r"tylenol|acetaminophen|aspirin|ibuprofen|insulin|opioids?|heroin|fentanyl|methadone|xanax|valium|"
    r"benzos?|diazepam|codeine|tramadol|morphine|sleeping \w+|painkillers?|bleach|antifreeze|"
    r"detergent|pesticide|weed ?killer|rat poison|drain cleaner|blister ?packs?|bottle|box|packet|pack)"
)
_BODY = r"(?:face|lips?|tongue|throat|eyes?|mouth|smile|cheek|neck)"

PERSONAL_RULES = (
    Rule(
        "crisis.self_harm",
        (
            rf"\b(?:kill|hang|shoot|drown|stab|poison|starve|gas)(?:ing|ed)? {_SELF}\b",
            rf"\b(?:hurt|cut|burn|harm|slash|scratch)(?:ting|ing)? {_SELF}\b",
            r"\b(?:end|ending|ended|take|taking) (?:my|his|her|their|our) (?:own )?li(?:fe|ves)\b",
            r"\bend(?:ing)? (?:it all|it tonight|it now|everything|things for good)\b",
            r"\b(?:i|i'm|im|i am|she|he|they)\b.{0,20}\bsuicid\w+",
            r"\b(?:feel|feeling|am|i'm|im|been|my|mine)\b.{0,25}\bsuicidal\b|\bsuicide (?:note|pact|plan)\b.{0,30}\b(?:i|my|wrote|written)\b",
            r"\b(?:want|wants|wanted|going|ready|rather|plan\w*|decided|wish i could|hoping) to (?:just )?(?:die|be dead|disappear forever|jump|"
            r"not wake up|sleep forever|stop existing|go to sleep and)\b",
            r"\b(?:don't|dont|do not|can't|cannot|cant|no longer) (?:\w+ ){0,2}(?:want to )?(?:live|be here|be alive|wake up|exist|"
            r"go on|keep living|carry on|keep going|do this|take it (?:any ?more|any longer|like this))\b",
            r"\bno (?:reason|point|use) (?:to|in|for) (?:liv|go|be|carry|stay)\w*",
            r"\b(?:everyone|everybody|they|family|kids|all|world)\b.{0,30}\bbetter off (?:without|if i)\b|\bbetter off dead\b",
            r"\bout of (?:every(?:one|body)|their|your|the)(?:'s)? (?:way|hair|misery)\b|\bnot be a (?:burden|bother|problem)\b",
            r"\b(?:said|saying|say|wrote|written|writing|left|leaving)\b.{0,25}\b(?:goodbyes?|(?:the|a|my) (?:notes?|last letters?|letters?))\b",
            r"\b(?:my|this is (?:my|the)|his|her) (?:very )?last (?:night|day|evening|message|hours?)\b",
            r"\b(?:jump|jumping|leap)\b.{0,40}\b(?:roof|bridge|balcony|window|cliff|train|car park|ledge|building)\b",
            r"\b(?:roof|bridge|balcony|railings?|ledge|cliff|tracks?|platform edge|parapet)\b.{0,50}\b(?:climb|jump|over|right now|wrong side|edge)",
            r"\b(?:be|join|meet|see|with) (?:my|him|her|them|mum|dad|my late|my dead)\b.{0,40}\b(?:by (?:morning|tonight|tomorrow)|tonight|again soon|on the other side)\b",
            r"\b(?:blade|razor|rope|noose|gun|knife|pills|tablets|belt|exhaust|hose)\b.{0,50}\b(?:in front of me|in my hands?|lined up|ready|"
            r"laid out|on my (?:desk|lap|bed)|loaded|tied|next to me|round my neck)",
            r"\b(?:long|big|last|final|forever|permanent|eternal) (?:nap|sleep|way out|exit|goodbye)\b|\bnever (?:wak(?:e|ing) up|wakes)\b.{0,20}\b(?:me|i)\b",
            r"\b(?:next|other|after) ?life\b|\bon the other side\b|\b(?:won'?t|wont|will not|not gonna|not going to) (?:be (?:here|around|alive|needing)|need|make it to|see)\b.{0,40}\b(?:tonight|today|tomorrow|any ?more|after|morning|birthday|monday|week)\b",
            r"\b(?:gonna|going to|finna|wanna|i'?ll|i will|ima|about to|ready to)\b.{0,15}\b(?:do|end|finish) it\b.{0,15}\b(?:ton[iy]\w+|2nite|2night|today|now|this (?:evening|time|morning)|soon)\b",
            r"\b(?:nobody|no one|no-one|noone)\b.{0,15}\b(?:finds?|found|find|stops?|saves?|reach\w*) me\b|\b(?:it|this|that|knot|rope|beam|branch) (?:has to|must|will|should|can) hold (?:me|my weight)\b",
            r"\b(?:i'?m|im|i am|he'?s|hes|she'?s|shes|he is|she is|sat|sitting|standing|stood|lying|parked)\b.{0,30}\b(?:ledge|edge of the|tracks|rails|railings?|window ?sill|parapet|level crossing|platform (?:ends?|edge)|multi-?storey|wrong side|quarry|cliff)\b",
            r"\b(?:kill|finish|end) me (?:off|quick\w*|fast\w*|soon\w*|painless\w*|first)\b|\bnot be (?:saved|found|woken) in time\b",
            r"\bstepp?(?:ing)? off\b|\b(?:floor|storey)\b.{0,25}\bwindow (?:is |wide )?open\b|\bthere (?:is|will be|'?s) no (?:monday|tomorrow|next \w+) for me\b|\bforgive me\b|\blet (?:me|her|him) rest for good\b",
            r"\bwrist\w*\b.{0,40}\b(?:cut|slit|slash|deep|bleed)|\b(?:cut|slit|slash|slic)\w* (?:my|her|his) (?:own )?(?:wrists?|arms?|throat|veins?|thighs?)\b",
        ),
    ),
    Rule(
        "crisis.overdose",
        (
            rf"\b(?:took|taken|swallowed|downed|necked|popped|ate|drank|drunk|had|ingested|finished|emptied|injected|snorted)\b"
            rf".{{0,25}}\b(?:all|every|whole|entire|rest|too (?:many|much)|handful|load|bunch|lots|loads|dozens?|\d{{2,3}})\b.{{0,40}}\b{_DRUG}\b",
            rf"\b(?:all|every|whole|entire|handful)\b.{{0,30}}\b{_DRUG}\b.{{0,30}}\b(?:took|gone|swallowed|empty|ago)\b",
            rf"\b(?:empt(?:y|ied)|finished)\b.{{0,25}}\b{_DRUG}\b",
            r"\b(?:took|taken|swallow\w*|downed|necked|drank|had) (?:the (?:whole )?lot|a (?:whole )?(?:load|bunch|fistful)|everything (?:in|from)|them all|enough)\b",
            r"\b(?:i|she|he|they|who|has|have|just|'s)\b.{0,25}\boverdos(?:ed|ing)\b|\boverdosed (?:on|just|an hour|about)\b|\bod'?ed\b",
            r"\b(?:took|taken|injected|snorted|did|shot up|line)\b.{0,60}\b(?:barely breathing|not breathing|eyes rolled|twitching|blue|can't wake|"
            r"won't wake|unconscious|foaming)",
        ),
    ),
    Rule(
        "crisis.poisoned",
        (
            r"\b(?:swallowed|drank|drunk|ate|eaten|licked|chewed)\b.{0,40}\b(?:batter(?:y|ies)|magnets?|bleach|antifreeze|detergent|pods?|pesticide|"
            r"weed ?killer|cleaner|white spirit|petrol|paraffin|turpentine|berries|mushrooms?|rat poison|poisons?|nicotine|vape|coins?|tablets?|pills?|thinner|kerosene|phenyl|organophosphate\w*|methanol|lamp oil|perfume|sanitiser)\b",
            r"\bconsumed (?:\w+ ){0,2}(?:poison|pesticide|organophosph\w+|phenyl|acid)\b|\b(?:on purpose|deliberately)\b.{0,60}\b(?:swallow\w*|took|taken|drank)\b|\bswallow\w*\b.{0,60}\bon purpose\b",
        ),
    ),
)  # fmt: skip
"""Patterns of suicidal users and overdoses."""

EMERGENCY_RULES = (
    Rule(
        "crisis.breathing",
        (
            r"\b(?:can'?t|cannot|can not|not|barely|hardly|stopped|struggl\w+ (?:to|for)|isn'?t|fight\w* (?:to|for)|trouble|difficulty|short of|gasping for) (?:\w+ ){0,2}breath\w*",
            r"\bgasp(?:s|ing)\b|\bchok(?:es?|ed|ing)\b|\bgagging\b|\bgurgl\w+|\bwheez\w+|\bwhistl\w+ (?:noise|sound)\b|\bstridor\b",
            r"\b(?:blue|grey|gray|purple|funny colour|funny color|mottled)\b.{0,25}\b(?:lips?|face|round the mouth|skin)\b|\b(?:lips?|face|fingers)\b.{0,15}\b(?:blue|grey|gray|purple)\b",
            r"\b(?:gone|goes|going|went|turn\w*|looks?|looking|he's|she's|hes|shes) (?:\w+ ){0,3}(?:blue|grey|gray|purple|a funny colou?r|mottled)\b",
            r"\b(?:he|she|baby|child|kid|toddler|newborn|boy|girl|son|daughter|wife|husband|mum|mom|mother|dad|father|friend|man|woman)(?: \w+){1,3} (?:blue|grey|gray|purple|mottled)\b",
        ),
    ),
    Rule(
        "crisis.unresponsive",
        (
            r"\bunconscious\b|\bunrespons\w+|\bpassed out\b|\b(?:won'?t|can'?t|cannot|not|couldn'?t|cant|wont)(?: \w+){0,3} (?:wake|rouse|come round|open (?:his|her|their) eyes|respond)\w*",
            r"\bcollaps\w+|\bfloppy\b|\blimp\b|\beyes (?:have )?roll\w*|\b(?:having|had|has) a (?:fit|seizure)\b|\bfitting\b|\bseizing\b|\bconvuls\w+|\btwitching\b|\bjerking\b",
            r"\b(?:no|find a|feel a|can't feel a) pulse\b|\bfoaming\b|\blifeless\b",
        ),
    ),
    Rule(
        "crisis.heart",
        (
            r"\b(?:crush\w+|tight\w*|pressure|squeez\w+|heav\w+|elephant|vice|band|clutching|gripping|stabbing|burning|pain|pains|ache)\b.{0,30}\b(?:chest|ribs|breastbone|heart)\b",
            r"\b(?:chest|breastbone)\b.{0,30}\b(?:crush\w+|tight\w*|pain\w*|pressure|squeez\w+|heav\w+|hurts?|vice)\b",
            r"\b(?:left arm|jaw)\b.{0,40}\b(?:sweat\w*|numb|pain|ach\w+|chest)\b",
        ),
        ("\\b(?:for (?:weeks|months|years)|last (?:week|month|year)|when i (?:cough|press|move))\\b",),
    ),
    Rule(
        "crisis.stroke",
        (
            rf"\b{_BODY}\b.{{0,25}}\b(?:droop\w*|wonky|lopsided|one side|sagg\w*|slid\w*|dropp\w*|crooked|twisted)\b",
            r"\bslurr\w*|\bwords? (?:don'?t|make no|come out|are coming|aren'?t|all)|\bnone of (?:his|her|the) words\b|\btalking (?:gibberish|nonsense|rubbish)\b",
            r"\b(?:can'?t|cannot|unable to|cant) (?:speak|talk|lift|move|feel|find (?:his|her|the) words|see out of)\b",
            r"\b(?:arm|leg|side|hand)\b.{0,20}\b(?:gave way|gone (?:weak|numb|dead)|went (?:weak|numb|dead|limp)|won'?t move|paralys\w+|hanging)\b",
            r"\bworst headache\b|\bthunderclap\b|\bsudden\w*\b.{0,25}\b(?:headache|blind|vision|numb)",
        ),
    ),
    Rule(
        "crisis.anaphylaxis",
        (
            rf"\b{_BODY}\b.{{0,25}}\b(?:swell\w*|swollen|balloon\w*|puff\w*|clos\w+|huge|doubled|too big|getting (?:fat|big|thick)|shutting)\b|\bswollen\b.{{0,15}}\b{_BODY}\b",
            r"\banaphyla\w+|\bepi-?pen\b|\b(?:blotches|hives|welts)\b.{0,60}\b(?:breath\w*|whistl\w+|wheez\w+|swell\w*|throat|faint\w*)\b",
        ),
    ),
    Rule(
        "crisis.bleeding",
        (
            r"\b(?:won'?t|wont|not|doesn'?t|can'?t|isn'?t|cannot) (?:\w+ ){0,2}stop\w* (?:the )?bleed\w*|\bbleed\w*\b.{0,25}\b(?:won'?t|not|doesn'?t) stop|\bwon'?t stop bleeding\b",
            r"\bblood\b.{0,25}\b(?:everywhere|gush\w*|pour\w*|spurt\w*|pump\w*|puddle|pool\w*|soak\w*|squirt\w*|cupfuls?|bucket\w*)\b|\b(?:gush|pour|spurt|squirt|soak)\w*\b.{0,20}\bblood\b",
            r"\b(?:cough|vomit|throw|bring|spit|chuck|puk|retch)(?:ing|s|ed|es)? (?:up )?(?:\w+ ){0,4}(?:blood|bright red|coffee grounds)\b|\bbleeding (?:heavily|out|badly|to death)\b",
            r"\bclots? (?:like|the size|as big)\b|\bpad every\b|\b(?:severed|cut off|chopped|sliced)\b.{0,25}\b(?:finger|hand|arm|leg|artery|thigh)\b",
        ),
    ),
    Rule(
        "crisis.child",
        (
            r"\b(?:purple|red|dark) (?:spots?|rash|blotches)\b.{0,50}\b(?:fade|glass|press|blanch)\w*|\bglass test\b",
            r"\b(?:grape|nut|coin|sweet|toy|bead|food|peanut)\b.{0,40}\b(?:stuck|throat|can'?t find|choking|lodged)\b",
        ),
    ),
)  # fmt: skip
"""Patterns of emergencies."""

_NEAR = re.compile(
    r"\b(?:i|i'?m|i'?ve|im|me|my|mine|we|we'?re|our|us|myself|beside me|next to me)\b"
    r"|\b(?:right now|at this moment|just now|this minute|as i (?:write|type))\b",
    re.IGNORECASE,
)


_FACT = re.compile(
    r"(?:(?:what|which)(?: (?:is|are|was|were))?|name|list|define|state|enumerate|describe)"
    r"(?: (?:the|an?|of|in|for|all|two|three|four|five))*"
    r"(?: [\w'()/-]+){0,4}? (?:treatment|therapy|management|drug|agent|antidote|antibiotic|"
    r"dose|route|mechanism|action|pathophysiology|pathogenesis|aetiology|etiology|causes?|features?|"
    r"signs?|symptoms?|findings?|complications?|risk factors?|definition|classification|criteria|"
    r"diagnosis|investigations?|tests?|mediators?|receptors?|antibod(?:y|ies)|types?|stages?|"
    r"indications?|contraindications?|prognosis|incidence|prevalence|triad)\b"
    r"(?: (?:of choice|used|given|indicated|seen|characteristic))*"
    r" (?:of|for|in|to|is|are|that|which|with|causes?|after|before|during)\b[^.?!\n]*[.?]?",
    re.IGNORECASE,
)
_TERM = re.compile(
    r"(?:what (?:is|are)|what does|define|describe|explain)(?: (?:the|an?))?"
    r"(?: [\w'()/-]+){1,3}(?: mean)? ?[.?]?",
    re.IGNORECASE,
)
_SOMEBODY = re.compile(
    r"\b(?:i|i'?m|i'?ve|im|ive|me|my|mine|myself|we|we'?re|us|our|ours|you|your|he|he'?s|hes|him|his|she|"
    r"she'?s|shes|her|hers|they|they'?re|them|their|someone|somebody|anyone|anybody|everyone|nobody|"
    r"this|that (?:man|woman|person|guy|girl|boy)|mum|mom|mother|dad|father|nan|gran\w*|son|daughter|"
    r"husband|wife|partner|brother|sister|boyfriend|girlfriend|friend|mate|neighbou?r|baby|kid|"
    r"flatmate|roommate|uncle|aunt|cousin|stranger|colleague|boss|teacher|grand\w+)\b"
    r"|\b(?:now|right away|ago|just|please|pls|plz|help|urgent\w*|quick\w*|hurry|asap|sos|today|tonight|"
    r"suddenly|still|won'?t|can'?t|cannot|isn'?t|doesn'?t|not|no|happening|wrong|ambulance|next to|"
    r"turn(?:s|ed|ing)|going|getting|droop\w*|gush\w*|spurt\w*|pouring|blue|lips?|face)\b",
    re.IGNORECASE,
)


def detect_crisis(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Detect a crisis, and refuse it with the crisis card; a false alarm does no harm."""
    rules = (*PERSONAL_RULES, *EMERGENCY_RULES)
    reason = (
        first_reason(rules, reading.asker_text)
        if concerns_asker(reading.inquiry, reading.asker_text)
        else None
    )
    # A free-text subject is never a vignette.
    reason = reason or first_reason(rules, reading.subject)
    if reason is not None and _is_factual_question(reading):
        reason = first_reason(PERSONAL_RULES, reading.asker_text) and reason
    return make_verdict("crisis", policy.crisis.action, reason, "crisis")


def _is_factual_question(reading: InquiryText) -> bool:
    """Return whether a text is one factual question, without a person or a moment in it.

    "What is the first-line treatment of anaphylaxis?" and "What is anaphylaxis?" are; "What is
    happening, her lips are blue?" is not. Such a question is no crisis; without options it gets the
    scope card, which names the emergency number as well.
    """
    text = reading.text
    if len(text) > linear_search.WINDOW:
        return False  # factual questions are shorter
    asked = _FACT.fullmatch(text) or _TERM.fullmatch(text)
    return asked is not None and linear_search.find_first(_SOMEBODY, text) is None


def concerns_asker(inquiry: Inquiry, text: str) -> bool:
    """Return whether users write about themselves, not about a person in a vignette.

    An inquiry without options is no vignette. Of others the text counts: "Troponin I" in an option
    need not be in it.
    """
    return not inquiry.options or linear_search.find_first(_NEAR, text) is not None
