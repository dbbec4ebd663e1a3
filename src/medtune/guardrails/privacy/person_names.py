"""Patterns of personal names: by titles, relations, cues, age or bed, or given names."""

from __future__ import annotations

import re

from medtune.guardrails.privacy.eponyms import (
    PERSONAL_WORDS,
    is_eponym,
    is_impersonal,
    is_in_name_list,
    load_given_names,
    load_lone_names,
    read_words,
)
from medtune.guardrails.privacy.patterns import (
    UPPER,
    WORD,
    Check,
    PatternMatch,
    accept_all,
    identifier_pattern,
)

_OF = r"(?:(?:de|da|do|van|von|der|den|bin|ibn|al|el|du|la|di|le|ter|ten|Ó|Van|Von) )"
_LAST = rf"(?!V[ao]n {_OF}?[{UPPER}]){WORD}"
"""A word of a name, but not "Van" before another word: rows of them would be ambiguous."""
_NAME = (
    rf"(?P<it>{_OF}{{0,2}}{_LAST}(?:[ \u00a0]{_OF}{{0,2}}(?:(?:al|az|el|an|as)-)?{_LAST}){{0,3}})"
)
_FULL = _NAME.replace("{0,3}", "{1,3}")
_TITLED = _NAME.replace("(?P<it>", rf"(?P<it>(?:[{UPPER}] ){{0,3}}", 1)
_INITIALS = rf"(?P<it>(?:[{UPPER}]\.? ?){{1,3}}(?<=[. ])(?:O['’]|{_OF})?{WORD})(?<!\.\w\w)"
_CIVIL = (
    r"(?:M(?:r|rs|s|iss|x|str|aster|adam|adame|me|aj)|Shri|Shrimati|Smt|Kumari|Frau|Herr|Monsieur|"
    r"S(?:e[nñ]ora?|ignora?|ig)|Dhr|Mevr|Sra?|mr|mrs|ms)"
)
"""Titles of patients; nothing is named after these."""
_TITLE = (
    r"(?:D(?:r|ame)|Prof(?:essor)?|S(?:ri|ister|ir|gt)|Nurse|C(?:apt|aptain|ol|olonel|orporal|"
    r"onstable)|L(?:t|ieutenant|ady)|Sergeant|Rev(?:erend)?|Fr|Father|Imam|Rabbi|Sheikh|Pan[i]?|PC|"
    r"FY[12]|[CS]T[1-8]|S[pT]R|dr|prof)"
)
_KIN = (
    r"(?:(?:great-)?(?:grand)?(?:son|daughter|mother|father|niece|nephew)|husband|wife|partner|"
    r"brother|sister|mum|mom|dad|uncle|aunt(?:ie)?|cousin|friend|neighbou?r|flatmate|room-?mate|"
    r"fianc[eé]e?|carer|guardian|boyfriend|girlfriend|twin|nan|gran|grandma|grandad|grandpa|in-law)"
)
_ROLE = (
    r"(?:patient|pt|client|claimant|child|baby|infant|boy|girl|toddler|teenager|man|woman|lady|"
    r"gentleman|registrar|consultant|surgeon|physician|an(?:a)?esthetist|attender|attendant|nurse|"
    r"midwife|physio|dietitian|solicitor|coach|manager|interpreter|worker|pharmacist|officer|"
    r"doctor|gp|proband|student|teacher|driver|donor|caller|secretary|receptionist|paramedic|"
    rf"chaplain|landlady|landlord|colleague|twin [AB12]|{_KIN})"
)
_DONE = (
    r"(?:signed|witnessed|seen|reviewed|written|reported|taken|dictated|typed|verified|"
    r"authori[sz]ed|checked|approved|prepared|referred|accompanied|brought in|examined|booked|"
    r"ordered|requested|completed|collected|counselled|countersigned|drawn|administered|prescribed|"
    r"handed over|scrubbed)"
)
_MAY_NAME_A_DISEASE = (
    r"(?i:called|named?|this is|known as|aka|patient|pt|doctor|surgeon|physician|child|baby|infant|"
    r"boy|girl|man|woman|toddler|twin|student|lady|gentleman|donor|teenager)\b"
)
_GOES_ON = (
    r"[,.:;!?)(]|$|\n| (?:is|was|has|had|who|and|with|from|in|on|about|to|rang|said|says|left|came|"
    r"for)\b"
)
_CUE = (
    r"(?:patient(?: is|'s name is)?|name(?: is|d)?|(?:in the )?name of|my name's|called|calling "
    r"(?:him|her)self|next of kin|nok|contact|signed|attn|attention(?: of)?|c/o|cc|regards|"
    r"sincerely|faithfully|best wishes|thanks|ask for|message for|claim of|belonging to|discharge "
    r"summary for|summary for|on behalf of|baby of|mother of|child of|son of|daughter of|widow of|"
    r"wife of|care of|handover (?:from|to)|letter (?:from|to)|call (?:from|to)|belongs to(?: a "
    r"different)?|i am|i'm|this is|the form said|labelled|addressed to|spoke (?:to|with)|told|"
    r"asked|met|saw|hi|hello|hey|dear|née|nee|aka|known as|goes by|nicknamed|real name|name as|"
    r"herself as|himself as|apologies (?:received )?from|attending|assistant|witness|referrer|"
    rf"subscriber|fao|dictated|author|{_DONE} by|{_ROLE})"
)
_COLON = (
    r"(?:patient|name|pt|client|re|subject|attn|fao|cc|from|to|contact|author|signed|surgeon|"
    r"assistant|consultant|registrar|physician|nurse|gp|doctor|nok|next of kin|carer|scrub nurse|"
    r"an(?:a)?esthetist|operator|referrer|witness|vignette|case)"
)
_SMALL = r"[a-z]{3,} [a-z'’-]{3,}"
_DOES = r"(?:called|came|said|says|asked|asks|wrote|lives|phoned|rang)\b"
_PATIENTS_DO = (
    r"(?:attended|rang|phoned|telephoned|lives|denies|denied|complains|complained|refused|"
    r"consented|slept|"
    r"weighs|smokes|feels|DNA['’]?d|did not attend|has been (?:admitted|discharged|seen|referred)|"
    r"was (?:admitted|discharged|seen|brought|referred|transferred|reviewed|examined|extubated))\b"
)
_BESIDE = (
    r"(?=,? \(?aged? ?:?\d{1,3}\b|, (?:an? )?\d{1,3}[- ](?:year|yr|month|week|day)s?[- ]old|, "
    r"\d{1,3},|,? ?\(?\d{1,3} ?/? ?(?:[MF]|yo|y/o|yrs?|years?)\b| / [MF] / \d|,? \(?(?:d\.?o\.?b|"
    r"bed|ward|room|cubicle|MRN|NHS|hosp|UHID)\b)"
)
"""Text beside a patient's name: age, bed, number."""
_PLAIN_WORDS = read_words("plain_words.txt")
"""Capitalized words that are no names."""


def _is_plain_word(name: str) -> bool:
    """Return whether a capitalized text begins with a plain word."""
    return re.split(r"[ '’-]", name)[0].casefold() in _PLAIN_WORDS


def _is_titled_name(place: PatternMatch) -> bool:
    return not _is_plain_word(place.matched_text) and re.match(r" syndrome\b", place.after) is None


def _is_person(place: PatternMatch) -> bool:
    profession = place.matched_text.endswith(("ologist", "ician", "iatrist", "ist in"))
    return not (profession or _is_plain_word(place.matched_text) or is_impersonal(place))


def _has_given_name(name: str) -> bool:
    first = re.split(r"[ '’]", name)[0]
    known = load_given_names()
    return first in known or first.capitalize() in known or first.split("-")[0] in known


def _is_person_by_given_name(place: PatternMatch) -> bool:
    """Match a name that begins with a given name."""
    return _has_given_name(place.matched_text) and _is_person(place) and not is_in_name_list(place)


def _is_person_called(place: PatternMatch) -> bool:
    """Match what a person is called, not a thing."""
    whom = re.search(
        rf"\b(?:{_ROLE}|he|she|who|him|her|someone|somebody)(?:,? (?:is|was|also|always|who is|"
        r"\w+ly))*,? (?:called|known as|aka)[,:]? $",
        place.before,
        re.IGNORECASE,
    )
    return _is_person(place) and (whom is not None or _has_given_name(place.matched_text))


def _is_name_beside_age(place: PatternMatch) -> bool:
    """Match a name beside an age, bed or number, unless it is a place or a disease."""
    there = re.search(r"\b(?:in|at|from|near|outside|around|of|with|for)(?: the)? $", place.before)
    return (
        there is None
        and not _is_plain_word(place.matched_text)
        and not is_eponym(place.matched_text, place.after)
    )


def _is_given_name_beside_age(place: PatternMatch) -> bool:
    return _has_given_name(place.matched_text) and _is_name_beside_age(place)


def _is_lone_given_name(place: PatternMatch) -> bool:
    """Match a given name that is not also a medical term, unless it is a historical figure's."""
    more = re.match(rf"(?: {WORD}){{0,2}}", place.after)
    first = re.search(rf"(?:{WORD} ){{1,2}}$", place.before)
    whole = PatternMatch(
        place.text,
        place.start - (len(first[0]) if first else 0),
        place.end + (more.end() if more else 0),
    )
    known = load_lone_names()
    if not (
        re.split(r"['’]", place.matched_text)[0] in known
        or place.matched_text.split("-")[0] in known
    ):
        return False
    return not (_is_in_place_name(place) or _among_eponyms(place) or is_impersonal(whole))


_TOWN = re.compile(r"\b(?:S[ãa]o|San(?:t[ao])?|St\.?|Saint|Port|New|Fort|Los|El|Cape|Mount|Lake) $")


def _is_in_place_name(place: PatternMatch) -> bool:
    """Return whether a name is part of a place name, as in São Paulo."""
    return _TOWN.search(place.before) is not None


def _among_eponyms(place: PatternMatch) -> bool:
    """Return whether a name is in a list of names without given names or persons."""
    if is_in_name_list(place):
        return True
    if PERSONAL_WORDS.search(place.before + place.rest_of_sentence):
        return False
    front = re.search(rf"({WORD})(?:,| and| or) $", place.before)
    back = re.match(rf"(?:,| and| or) ({WORD})", place.after)
    others = [match[1] for match in (front, back) if match]
    return bool(others) and not any(_has_given_name(other) for other in others)


def _is_inverted_name(place: PatternMatch) -> bool:
    """Match inverted names, "SMITH, John" or "Smith, John (bed 3)", by the given name."""
    last, first = re.split(r",? (?=\S+$)", place.matched_text, maxsplit=1)
    if is_eponym(first, place.after):
        return False
    return _has_given_name(first) and _is_person(
        PatternMatch(place.text, place.start, place.start + len(last))
    )


def _is_patient_subject(place: PatternMatch) -> bool:
    """Match the subject of something that only patients do."""
    return _is_person(place) and not place.matched_text.endswith(
        ("ia", "is", "us", "um", "in", "ine", "oma")
    )


def _is_lowercase_name(place: PatternMatch) -> bool:
    """Match a lower-case name by its given name."""
    first, *last = place.matched_text.split(" ")
    plain = bool(last) and last[0] in _PLAIN_WORDS
    return first.capitalize() in load_given_names() and not plain and not _is_plain_word(first)


def _is_lone_lowercase_name(place: PatternMatch) -> bool:
    return place.matched_text.capitalize() in load_lone_names()


def _is_lowercase_titled_name(place: PatternMatch) -> bool:
    """Match a name after "mr" unless it means magnetic resonance or mitral regurgitation."""
    other = (
        r"(?:\w*(?:scan|imag|angio|spectro|veno|elasto|entero|arthro|cholangio|uro|mammo)\w*|"
        r"sever\w+|mild|moderate|due|jet|grade|findings?|shows?|showed|murmur|then|patients?|and|"
        r"or|of|is|was)$"
    )
    return (
        not _is_plain_word(place.matched_text)
        and re.match(other, place.matched_text.split(" ")[0]) is None
    )


def _is_signature(place: PatternMatch) -> bool:
    """Match a name that signs a text in the first person."""
    text = place.text[: place.start]
    return re.search(r"\b(?:I|[Mm]y|me|[Ww]e|[Oo]ur)\b", text) is not None and _is_person(place)


_ROOM = r"(?:[Bb]ed|[Bb]ay|[Rr]oom|[Cc]ubicle|[Cc]ot|[Ss]ide room)(?: no\.?)? [\dA-Z]{1,5}"
_NAME_WAYS: tuple[tuple[str, Check], ...] = (
    (rf"\b{_CIVIL}\b\.?(?: (?:and|&) {_CIVIL}\b\.?)? {_TITLED}", _is_titled_name),
    (rf"\b{_TITLE}\b\.?(?: (?:Sir|Dame|Dr|Prof|Med)\b\.?)* (?!{_CIVIL}\b){_TITLED}", _is_person),
    (
        r"(?:\b(?:mr|mrs|dr|Mr|Mrs|MR|MRS)|(?:^|(?<=[.!?\n] ))(?:ms|"
        r"miss))\b\.? (?P<it>[a-z][a-z'’-]{2,})",
        _is_lowercase_titled_name,
    ),
    (
        rf"\b(?i:called|known as|aka)\b[,:]? (?P<it>(?:\w+ )?{WORD}(?: {WORD}){{0,2}})",
        _is_person_called,
    ),
    (rf"\b(?!called|known|aka)(?i:{_CUE})\b[,:]? {_FULL}", _is_person),
    (rf"\b(?i:{_COLON}): ?\n? ?{_FULL}", _is_person),
    (rf"\b(?i:{_CUE})\b[,:]? {_INITIALS}\b", _is_person),
    (rf"\b(?<![.\w])(?P<it>(?:[{UPPER}]\. ){{2,3}}(?:O['’])?{WORD})(?<!\.)", _is_person),
    (rf"\b(?P<it>[{UPPER}][\w'-]{{1,40}}+\^[{UPPER}][\w'-]+(?:\^[\w.]+)*)", accept_all),
    (
        r"(?i:\b(?:last|first|family|given|patient|sur|full)[ _]?name)[\"']?\s?[:=>]+\s?"
        rf"[\"']?(?P<it>{WORD}(?: {WORD})*)",
        accept_all,
    ),
    (
        rf"\b(?i:my|his|her|their|our) (?:\w+ )?(?i:{_ROLE})[, ]{{1,2}}[(\"“]?(?P<it>{WORD})",
        _is_person,
    ),
    (rf"\b(?i:{_KIN}) [\"“]?(?P<it>{WORD})(?=[\"”]? [a-z])", _is_person),
    (
        rf"\b(?P<it>{WORD})['’]s (?=(?:{_KIN}|bloods|histology|drain|wound|notes|bed|"
        rf"inhaler|consent)\b)",
        _is_person,
    ),
    (
        rf"\b(?P<it>{WORD}(?: {WORD})?, {WORD})(?=,? ?\(|  | - |,? \d|,? DOB|\t| \||"
        rf",? (?:MRN|NHS|UHID|hosp))",
        _is_inverted_name,
    ),
    (
        rf"\b(?P<it>(?:{WORD}(?: {WORD})?|[{UPPER}]{{3,}}), {WORD})(?= \(\d{{1,4}}[./-]\d|"
        rf" \(?\d{{1,3}} ?[MF]\b| \| \d{{1,3}} ?[MF]\b)",
        _is_name_beside_age,
    ),
    (rf"\b(?P<it>[{UPPER}]{{3,}} {WORD}){_BESIDE}", _is_inverted_name),
    (rf"\b{_FULL}{_BESIDE}", _is_name_beside_age),
    (rf"\b(?={_FULL})", _is_person_by_given_name),
    (rf"\b(?P<it>{WORD}){_BESIDE}", _is_given_name_beside_age),
    (
        rf"(?:^|(?<=[.!?\n] )|(?<=\n))(?P<it>{WORD})(?=, \d{{1,3}}, (?:who|has|had|is|was|"
        rf"asks|wants|says|came|presents|lives|works|takes|an?)\b)",
        _is_person,
    ),
    (rf"\b{_ROOM}[,:]?(?: [-–])? (?P<it>{WORD})(?=[:,;(]|$| [-–])", _is_person),
    (
        rf"\b(?!{_MAY_NAME_A_DISEASE})(?i:{_CUE})\b[:,]? (?!{_TITLE}\b|{_CIVIL}\b)"
        rf"[\"“]?(?P<it>{WORD})(?=[\"”]?(?:{_GOES_ON}))",
        _is_person,
    ),
    (
        rf"\b(?i:the|this|our|an?) (?:\w+ )?(?i:{_ROLE}), (?P<it>{WORD})(?=, (?:aged?|\d|"
        rf"an? |the |who|is|was|has|had))",
        _is_person,
    ),
    (rf"\b(?i:twin [AB12]|named|{_COLON}:)(?: is)? (?P<it>{WORD})(?={_GOES_ON})", _is_person),
    (
        rf"\b(?:[Nn]ame|NAME|SURNAME|FORENAMES?|PATIENT|letters\)):? (?P<it>[{UPPER}]{{3,}}(?: "
        rf"[{UPPER}]{{1,2}}\.?| [{UPPER}]{{3,}})*)(?=\s|$)",
        _is_person,
    ),
    (rf"\b(?P<it>[{UPPER}]{{3,}}, {WORD})(?= )", _is_inverted_name),
    (rf"\b(?P<it>(?:[{UPPER}]\. ?){{1,3}}{WORD}) (?={_DOES})", _is_person),
    (
        rf"\b(?:dr|pt|patient|client|name|named|i am|i'm|im|this is|"
        rf"my name's)[.:]* (?P<it>{_SMALL})"
        r"(?=,|\.|$| (?:is|was|has|had|says|said|asks|came|in|from|rang|attended)\b)",
        _is_lowercase_name,
    ),
    (
        r"\b(?:i am|i'?m|it'?s|this is|my name is|my name's) (?P<it>[a-z]{3,})(?=[,. ]|$)",
        _is_lone_lowercase_name,
    ),
    (
        rf"(?:^|(?<=[.!?] )|(?<=\n))(?P<it>{WORD}(?: {WORD}){{0,2}})(?= {_PATIENTS_DO})",
        _is_patient_subject,
    ),
    (rf"(?<=[.!?,\n])[ \n](?P<it>{WORD} {WORD}(?: {WORD})?)\.?\s*$", _is_signature),
    (rf"[-–—] (?P<it>{WORD})\.?\s*$", _is_signature),
    (
        r"(?:患者|病人|姓名)[::：]? ?(?P<it>[\u4e00-\u9fff]{2,4})"
        r"|환자 ?(?P<ko>[\uac00-\ud7a3]{2,4})|المريضة? (?P<ar>\w+ \w+)"
        r"|(?:Пациент(?:ка)?|ФИО|Ασθενής|氏名)[::：]? ?(?P<others>[^\W\d_]++(?: [^\W\d_]+){1,2})",
        accept_all,
    ),
    (rf"\b(?P<it>{WORD})", _is_lone_given_name),
)
"""From the most to the least reliable."""
NAME_PATTERNS = tuple(
    identifier_pattern("name", way, check=check, case=True) for way, check in _NAME_WAYS
)

SECOND_NAME = re.compile(rf" and (?P<it>(?:[{UPPER}]\. ?){{1,3}}(?:O['’])?{WORD}|{WORD} {WORD})")
"""A second name joined to a first one by "and"."""


def is_second_name(place: PatternMatch) -> bool:
    """Return whether the text after "and" behind a name is a name as well."""
    return _is_person(place)
