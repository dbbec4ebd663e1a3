"""Recognize names that are not personal: eponyms and historical figures."""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib.resources import files

from medtune.guardrails.privacy.patterns import WORD, PatternMatch

_HEAD = (
    r"syndromes?|diseases?|signs?|tests?|scores?|scales?|nodules?|nodes?|murmurs?|points?|laws?|triads?|"
    r"tetralogy|palsy|palsies|paralysis|lymphomas?|sarcomas?|criteria|classifications?|bodies|duct|ring|"
    r"lines|plane|space|canal|ligaments?|fascia|man(?:o|oeu)uvres?|maneuvers?|reflex|phenomenon|effect|"
    r"reaction|stains?|agar|medium|procedure|operation|incision|forceps|catheter|tube|splint|bandage|"
    r"contractures?|diverticulum|chorea|ataxia|dystrophy|curve|formula|equation|theory|principle|sulcus|"
    r"rule|ruling|judge?ment|virus|bacillus|theorem|nomogram|technique|loop|gland|patch|patches|facies|"
    r"area|gyrus|tract|nucleus|ganglion|plexus|proteins?|malformations?|complex|conference|yojana|dictum|"
    r"regimen|report|declaration|standard|oath|code|disorder|delusion|dementia|palsy|anomaly|sequence|"
    r"dwarfism|granuloma|lesions?|hyaline|fib(?:re|er)s|crypts?|membrane|trigone|triangle|foramen|"
    r"aqueduct|ampulla|sphincter|fossa|pouch|tubercle|islets?|corpuscles?|apparatus|notch|antigens?|"
    r"antibod(?:y|ies)|factor|pins?|wires?|nails?|frame|retractors?|scissors|clamp|needle|sutures?|"
    r"airway|blade|laryngoscope|drains?|speculum|probe|trocar|cannula|stent|mesh|prosthesis|implant|"
    r"staging|questionnaire|inventory|constant|exponent|coefficient|correction|plot|distribution|"
    r"hypothesis|paradox|experiments?|postulates?|papyrus|exercises|hospital|college|university|study|trial|"
    r"services?|schemes?|program(?:me)?s?|board|council|committee|commission|association|society|mission|"
    r"organi[sz]ation|ministry|department|panchayat|angina|poisoning|fund|initiative|campaign|trust|"
    r"institute|foundation|prize|projection|protocol|guidelines?"
)
_MATTER = (
    r"pulses?|fractures?|tumou?rs?|stag(?:e|ing)|body|cells?|cysts?|line|position|ulcers?|hernia|anaemia|"
    r"anemia|encephalopathy|psychosis|nephropathy|vasculitis|thyroiditis|oesophagus|esophagus|pupils?|"
    r"index|model|case|act|diagram|chart|method|approach|spots?|rash|pox|fever|gait|breathing|"
    r"respiration|crisis|attack|seizures?|epilepsy|aphasia|valve|shunt|proteinuria|hormones?|"
    r"contractions?|ears?|packs?|design|"
    r"\w{3,}(?:itis|osis|oma|a?emia|pathy|ectomy|otomy|ostomy|plasty|plegia|penia|pexy|desis|sclerosis)"
)
_BETWEEN = r"(?:(?!about|the|with|for|and|in|on|of|has|had|is|was|to)\w+[ -])?"
_BARE = re.compile(rf"[\"”]?[ -]{_BETWEEN}(?:{_HEAD}|{_MATTER})\b", re.IGNORECASE)
_OWN = (
    r"syndromes?|diseases?|signs?|laws?|triads?|tetralogy|palsy|palsies|paralysis|lymphomas?|sarcomas?|"
    r"criteria|classifications?|bodies|duct|ring|space|canal|ligaments?|fascia|man(?:o|oeu)uvres?|reflex|"
    r"phenomenon|stains?|agar|contractures?|diverticulum|chorea|ataxia|formula|equation|theory|sulcus|"
    r"principle|rule|theorem|gland|tract|plexus|triangle|pouch|tubercle|corpuscles?|postulates?|nodes?|"
    r"nodules?|hypothesis|paradox|experiments?|dictum|oath"
)
_OWNED = re.compile(rf"(?:'s?|’s?)[ -]{_BETWEEN}(?:{_OWN})\b", re.IGNORECASE)
"""After a genitive, only words that no patient has: anybody has a fever, a valve and a test."""


def read_words(name: str) -> frozenset[str]:
    """Read a list of words, one a line, plain or compressed (`gzip -n`, without a date)."""
    data = (files("medtune.guardrails.privacy") / name).read_bytes()
    lines = gzip.decompress(data) if name.endswith(".gz") else data
    return frozenset(lines.decode().splitlines())


HISTORICAL_NAMES = read_words("historical_names.txt")
"""Historical figures of medicine, who occur in exam questions with their titles."""


@cache
def load_given_names() -> frozenset[str]:
    """Load given names of many languages (Faker 40, MIT, and by hand), without common words."""
    return read_words("given_names.txt.gz")


@cache
def load_lone_names() -> frozenset[str]:
    """Load given names that identify a person without a surname.

    Names shared with medical terms (eponyms, places, drugs) are excluded.
    """
    return load_given_names() - read_words("shared_names.txt.gz")


@cache
def load_pioneers() -> frozenset[str]:
    """Load full names of historical figures whose parts are common names."""
    return read_words("pioneers.txt.gz")


_YEAR = r"(?:1[4-8]\d\d|19[0-8]\d)\b(?![/-])"
_FOUND = (
    r"(?:discovered|invented|devised|coined|postulated|formulated|pioneered|theori[sz]ed|"
    r"hypothesi[sz]ed|isolated(?! at| in| for| from| him| her| them| after| since))"
)
_FIRST = r"(?:performed|achieved|implanted|built|published|made|reported|carried out|succeeded in) the first"
_HONOURED = (
    r"(?:won the|nobel|called the father|(?:bears?|gave|lent) (?:his|her|their|its) names?|(?:the |, )first "
    r"(?:to\b|wom[ae]n|m[ae]n|baby|babies|human|person|physician|surgeon|doctor|nurse|patient to)\b)"
)
_TOLD = (
    r"(?:described|reported|found|observed|showed|introduced|published|performed|operated|treated|wrote|"
    r"saw|used|lectured|passed|demonstrated|crossed|noticed|travelled|proved|proposed|linked|measured|"
    r"experimented|cultured|identified|suggested|developed|founded|vaccinated|inoculated)"
)
_THING = (
    r"(?:signs?|syndromes?|diseases?|operations?|procedures?|laws?|methods?|techniques?|reflex(?:es)?|"
    r"triads?|structures?|theor(?:y|ies)|drugs?|vaccines?|bacteri\w+|bacillus|virus|cells?|lesions?|"
    r"phenomenon|picture|features?|appearance|association|variant|eponym\w*|concept|model|scale|score|instruments?|stain|tumou?r)"
)
_MADE_HISTORY = re.compile(
    rf"[^.?!;:]{{0,60}}\b(?:{_FOUND}|{_FIRST}|{_HONOURED})"
    rf"|[^.?!;]{{0,25}}\b{_TOLD}\b[^.?!;]{{0,60}}\b(?:in|of|from|since) {_YEAR}"
    rf"|[^.?!;]{{0,25}}\bdescribed (?:an?|the) (?:\w+ ){{0,2}}{_THING}\b"
    rf"|[^.?!;:]{{0,60}}\b(?:named after|wrote (?:on|about)(?! (?:his|her|their|how|being)))\b"
    rf"|(?![^.?!]*\b(?:born|birth)\b)[^.?!;]{{0,80}}\b(?:in|of|since) (?:1[4-8]\d\d|19[0-4]\d)\b(?![/-])"
    rf"|\.? (?:19|20)\d\d ?[;(]"
    rf"|(?:,| in| \()[ ]?{_YEAR}(?= |:|\)|,)(?! (?:at|was born)\b)",
    re.IGNORECASE,
)
"""Text after the name of a historical figure."""
_MADE_BY = re.compile(
    rf"\b{_FOUND}[^.?!;]{{0,60}}\bby(?: the)?(?: \w+)? $"
    rf"|\bnamed? (?:after|for|in honou?r of)\b[^.?!;]{{0,60}} $"
    rf"|\b{_THING}\b[^.?!;]{{0,40}}\b(?:described|introduced|proposed|developed|named|reported|published)"
    rf"\b[^.?!;]{{0,60}}\bby(?: the)?(?: \w+)? $"
    rf"|\bIn {_YEAR},? $|\b(?:portrait|bust|statue|theory|law|legacy|work|concept) of(?: \w+)? $",
    re.IGNORECASE,
)
"""Text before such a name."""
_ASKED = re.compile(r"\b(?:which|whose|who|what|match|name)\b", re.IGNORECASE)
PERSONAL_WORDS = re.compile(
    r"\b(?:he|she|his|her|him|my|i|patient|aged?|years?[ -]old|phone|mobile|lives|ward|bed|clinic|seen|"
    r"admitted|referred|mother|father|husband|wife|son|daughter|sister|brother)\b|\b\d{1,2} ?[MF]\b",
    re.IGNORECASE,
)
"""Words that show that a sentence is about a person."""


def is_historical(place: PatternMatch) -> bool:
    """Return whether the context of a name marks a historical figure."""
    return bool(_MADE_HISTORY.match(place.after) or _MADE_BY.search(place.before))


def is_in_name_list(place: PatternMatch) -> bool:
    """Return whether a name is in an exam question's list of names."""
    sentence = place.before + place.matched_text + place.rest_of_sentence
    asked = place.rest_of_sentence.endswith("?") or re.match(
        r"\W*(?:name|match|list)\b", sentence, re.I
    )
    if not asked or not _ASKED.search(sentence) or PERSONAL_WORDS.search(sentence):
        return False
    front = re.search(rf"{WORD}(?:,| and| or|;|,? und|,? et) $", place.before)
    back = re.match(rf"(?:,|;| and| or| und| et),? (?:or |and )?{WORD}|:", place.after)
    return front is not None or back is not None


def is_eponym(name: str, after: str) -> bool:
    """Return whether a name is an eponym, by the words after or in it."""
    matter = _BARE.match(after) or _OWNED.match(after)
    return matter is not None or _BARE.search(name) is not None


def _is_joined_to_pioneer(place: PatternMatch) -> bool:
    """Return whether a name is joined with a historical figure's."""
    front = re.search(rf"({WORD} {WORD})(?:,| and|, and) $", place.before)
    back = re.match(rf"(?:,| and|, and) ({WORD} {WORD})", place.after)
    return any(
        match is not None and match[1].casefold() in load_pioneers() for match in (front, back)
    )


def is_impersonal(place: PatternMatch) -> bool:
    """Return whether a name is an eponym or a historical figure's."""
    name = place.matched_text
    if is_eponym(name, place.after) or is_historical(place):
        return True
    bare = re.sub(r"(?:'s|’s)$", "", name)
    if any(full in bare.casefold() for full in load_pioneers()) or _is_joined_to_pioneer(place):
        return True
    return any(part.casefold() in HISTORICAL_NAMES for part in re.split(r"[ -]", bare))
