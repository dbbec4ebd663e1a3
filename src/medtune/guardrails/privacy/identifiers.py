"""Take out what tells who somebody is; eponyms and numbers of medicine stay.

By pattern, by words that announce them, by check digits and first names.  No model: a name that
neither title, relation, neighbour nor first name tells is not found.  Ages and the dates of what was
done stay, for questions ask about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import linear_search
from medtune.guardrails.privacy.check_digits import digits, kvnr, luhn, nhs, verhoeff
from medtune.guardrails.privacy.patterns import (
    UPPER,
    WORD,
    IdentifierPattern,
    PatternMatch,
    pattern,
)
from medtune.guardrails.privacy.person_names import AFTER_A_NAME, NAMES, is_second


@dataclass(frozen=True, slots=True)
class Identifier:
    """One identifier."""

    kind: str
    start: int
    end: int


_DATE = (
    r"(?:\d{1,4} ?[./-] ?\d{1,2} ?[./-] ?\d{2,4}"
    r"|(?:the )?\d{1,2}(?:st|nd|rd|th|er|º|\.)?[ .-]*(?:of |de )?(?:[^\W\d_]{3,11}\.?|[IVX]{1,4})[ ,.-]*(?:de )?'?\d{2,4}\b"
    r"|[^\W\d_]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
    r"|\d{4} ?年 ?\d{1,2} ?月 ?\d{1,2} ?日|\d{4}년 ?\d{1,2}월 ?\d{1,2}일|(?:19|20)\d{6}\b"
    r"|(?:christmas|new year's|boxing|midsummer|easter|halloween)[a-z' ]{0,12} \d{4})"
)
_BORN = (
    r"(?:\bd\.?[ /]?o\.?[ /]?b\.?|\bdate of birth|\bday of birth|\bbirth ?(?:date|day)|\bborn|\bn[ée]e?(?:\(e\))? le|"
    r"\bnaissance|\bnacimiento|\bnascita|\bnascimento|\bgeb(?:oren|urtsdatum)?\.?|\bgeboortedatum|\bf[øö]dt?\b|"
    r"\bdoğum tarihi|\bb\.(?= ?\d)|生年月日|생년월일|出生日期)"
)
_POSTCODE = (
    r"(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"  # United Kingdom
    r"|[A-Z]{2},? \d{5}(?:-\d{4})?\b"  # United States
    r"|[A-Z]{2,3},? (?!(?:19|20)\d\d)\d{4}\b"  # Australia
    r"|[A-Z]{2},? [A-Z]\d[A-Z] ?\d[A-Z]\d\b"  # Canada
    rf"|[{UPPER}][\w'-]+,?[ -]+\d{{6}}\b"  # India
    rf"|(?!(?:19|20)\d\d\b)\d{{4,5}} [{UPPER}][\w'-]+)"  # much of Europe
)
_PLACE = rf"(?:[{UPPER}][\w'./-]{{0,40}}+|\d[\w/º.-]{{0,40}}+|rue|des?|du|la|y|of|the|and|upon|der|am|im|von|izq|dcha)"
_DOOR = r"\b(?:(?i:flat|apt\.?|apartment|block|unit|house|door|room|suite|plot|h\.? ?no\.?)(?: no\.?)? ?[\w/-]+, ){0,4}"
_STREET = (
    r"(?:street|st|road|rd|lane|ln|avenue|ave|drive|dr|close|court|ct|mews|terrace|gardens|crescent|"
    r"place|square|way|row|walk|hill|grove|park|boulevard|blvd|highway|parade|bend|steps|cottages?|"
    r"quay|view|rise|green|nagar|marg|colony|layout|stra(?:ss|ß)e|platz|weg|gasse|allee)"
)
_OPEN = r"(?:[ ]?(?:number|no\b\.?|nos\b\.?|id\b|code\b|#|nr\b\.?|ref(?:erence)?\b\.?))"
_IS = r"(?:[ ](?:is|are|was|under|ending|reads)){0,3}[\s,:#.=()]{1,3}"
_MIXED = r"(?-i:[A-Z]{1,5}[-/]?)?\d\w*(?:[-/]\w+)*(?: \d{3}[ -]\d{3,4})?"
_VALUE = (
    rf"(?P<it>{_MIXED}(?: \d{{3}})?|(?-i:[A-Z]{{2,5}}(?:[/-]\w+)*[/ -]\d{{2,}}(?:[ /-]\d{{2,}})*))"
)
_RECORDS = (
    r"(?:mrn|uhid|hosp|case notes?|label|cr no|ipd?(?: no)?|opd?(?: no)?|nhs|chi|hospital|records?|case|chart|"
    r"encounter|accession|visit|admission|file|notes|folder|unit|ward id|patient id|reg(?:istration)?|id|"
    r"identifier|csn|fin|emr|ehr|urn|dossier|akte|aktenzeichen|fallnummer|patientennummer|barcode|"
    r"nhi|phn|ihi|pps|nric|hkid|cpf|bsn|pesel|curp|referral|booking|appointment|episode|wristband|patient)"
)
_PAPERS = (
    r"(?:path(?:ology)?|histo(?:logy)?|lab(?:oratory)?|prescription|rx|specimen|sample|study|trial|participant|"
    r"subject|request|order|ticket|claim|slide|block|report|scan|requisition|donor|tissue|consent|form|"
    r"customer|client|reference|ref|quote|student|employee|staff|badge|locker)"
)
_CARDS = (
    r"(?:passport|driv(?:ing|er's|ers) licen[cs]e|licen[cs]e|voter(?: id)?|pan(?: card)?|identity card|national id|"
    r"dni|nie|nif|codice fiscale|carte vitale|visa|ration card|permit|gmc|nmc|npi|dea|hcpc|account|acct|a/c|"
    r"sort code|routing|iban|bic|upi|personalausweis|ausweis)"
)
_THINGS = r"(?:serial|s/n|imei|udi|device id|vin|registration|reg|number ?plate|licen[cs]e plate|plates?|car|van|taxi|vehicle)"
_CAPITALS = r"(?P<it>(?-i:[A-Z0-9]+(?:[ /-][A-Z0-9]{2,}){0,6}))"
_SCIENCE = (
    r"(?:NCT|ISRCTN|ACTRN|CTRI|UMIN|PMID|PMC|GSE|GSM|SRR|SRP|NM|NP|NR|XM|RS|CAS|ATCC|DSM|ENSG|OMIM|MIM|DOI|"
    r"CHEMBL|DB|GSK|SB|JNJ|BMS|PF|MK|LY|AZD|AMG|RO|RG|ABT|TAK|CP|UK|SCH|WAY|SR|BAY|CHIR|TG|ACC|AY|AF|AB|LOT)"
)
"""Before numbers of trials, papers, genes and substances."""


def _place(place: PatternMatch) -> bool:
    """Tell an address from amounts: it has a house number, or a British postcode behind names."""
    found = place.found
    amount = re.search(r"\b(?:mg|mL|mmol|IU|mcg|units?)\b", found) is not None
    front = re.sub(rf"{_POSTCODE}$", "", found)
    british = re.search(r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}$", found) is not None
    named = re.search(rf"[{UPPER}]\w*[a-zß-ÿ]", found) is not None
    return named and not amount and (len(digits(front)) > 0 or (british and front.count(" ") > 1))


def _phone(place: PatternMatch) -> bool:
    dated = re.match(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b", place.found) is not None
    amount = re.match(r"\s*(?:IU|mg|mL|units?)\b", place.after) is not None
    return 7 <= len(digits(place.found)) <= 15 and not dated and not amount


def _home(place: PatternMatch) -> bool:
    return _phone(place) and len(digits(place.found)) >= 9


def _record(place: PatternMatch) -> bool:
    """Tell a number from a year or an amount."""
    amount = (
        re.match(r"\s*(?:mg|mL|%|years?|patients|cases|participants)\b", place.after) is not None
    )
    year = re.fullmatch(r"(?:19|20)\d\d", place.found) is not None
    return len(digits(place.found)) >= 4 and not amount and not year


def _card(place: PatternMatch) -> bool:
    return _record(place) and len(digits(place.found)) >= 5


def _thing(place: PatternMatch) -> bool:
    letters = re.search(r"[A-Z]", place.found) is not None
    return _record(place) or (letters and len(place.found) > 4 and len(digits(place.found)) > 1)


def _member(place: PatternMatch) -> bool:
    letters = re.search("[A-Z]", place.found) is not None
    return len(digits(place.found)) >= (6 if letters else 7)


def _link(place: PatternMatch) -> bool:
    """Tell whose page it is: those of journals, authorities and libraries are nobody's."""
    public = (
        r"doi\.org|\.gov\b|who\.int|pubmed|ncbi|nejm|bmj|thelancet|cochrane|nice\.org|wikipedia"
    )
    return re.search(public, place.found) is None


def _address_of_a_machine(place: PatternMatch) -> bool:
    """Tell an address from an enzyme's number, which begins with 1 to 7."""
    parts = [int(part) for part in place.found.split(".")]
    return parts[0] > 9 and max(parts) < 256


SIGNS: tuple[IdentifierPattern, ...] = (
    IdentifierPattern("email", pattern(r"[\w.+-]{1,64}+@[\w-]+(?:\.[\w-]+)+")),
    IdentifierPattern(
        "email", pattern(r"[\w.+-]{1,64}+ ?[\[(]at[\])] ?[\w-]+(?:(?:\.| ?[\[(]dot[\])] ?)\w+)+")
    ),
    IdentifierPattern("web", pattern(r"\b(?:https?://|www\.)[^\s<>\"')]+[\w/]"), _link),
    IdentifierPattern(
        "web",
        pattern(
            r"\b(?:facebook|instagram|twitter|tiktok|linkedin|youtube|snapchat|reddit|vk|x)\.com/[\w./@-]*[\w/]",
            r"\bt\.me/\w+",
            r"(?<![\w@.])@[a-z_][\w.]{2,28}\w",
            r"\b(?:instagram|snapchat|twitter|tiktok|insta|discord|skype|telegram)(?: handle| name| user(?:name)?)?(?: is|:) ?(?P<it>@?[\w.]{4,30}\w)",
        ),
    ),
    IdentifierPattern(
        "web", pattern(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), _address_of_a_machine
    ),
    IdentifierPattern("device", pattern(r"\b[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\b")),
    IdentifierPattern("birth", pattern(rf"{_BORN}[^\n\d]{{0,24}}?(?P<it>{_DATE})")),
    IdentifierPattern(
        "birth",
        pattern(
            rf"(?P<it>{_DATE}) is (?:his|her|their|my|the \w+'s) (?:date of birth|birthday|dob)"
        ),
    ),
    IdentifierPattern("birth", pattern(r"\|(?P<it>(?:19|20)\d{6})\|")),
    IdentifierPattern(
        "document",
        pattern(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b", case=True),
        _card,
    ),
    IdentifierPattern(
        "insurance",
        pattern(
            r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b",  # US social security
            r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
            r"\b[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d{2}\b",  # Medicare
            case=True,
        ),
    ),
    IdentifierPattern(
        "insurance", pattern(r"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b"), lambda p: verhoeff(p.found)
    ),
    IdentifierPattern(
        "insurance",
        pattern(
            r"\b(?:aadhaa?r|uidai|insurance|policy|member(?:ship)?|medicare|medicaid|versicherten\w*|"
            r"krankenkasse|ssn|card|kvnr|ayushman|nino|ni number|subscriber|health plan|insured|afiliado|ubezpieczen\w+|carteirinha|versicherung)\b[^\n\d]{0,60}?"
            r"(?P<it>(?:\b(?-i:[A-Z]{1,5})[ /-])?(?:(?-i:[A-Z]{1,3}))?\d[\d /-]{4,19}\d(?:[ -]?(?-i:[A-Z])\b)?)(?!\d)"
        ),
        _member,
    ),
    IdentifierPattern("insurance", pattern(r"\b[A-Z]\d{9}\b", case=True), lambda p: kvnr(p.found)),
    IdentifierPattern("insurance", pattern(r"\b\d(?:[ -]?\d){12,18}\b"), lambda p: luhn(p.found)),
    IdentifierPattern("record", pattern(r"\b\d{3}[ -]\d{3}[ -]\d{4}\b"), lambda p: nhs(p.found)),
    IdentifierPattern(
        "address", re.compile(rf"{_DOOR}(?:{_PLACE}[ ,]++){{1,9}}?{_POSTCODE}"), _place
    ),
    IdentifierPattern(
        "address",
        re.compile(
            rf"{_DOOR}\b\d{{1,5}}(?:[A-Za-z]| bis|[/-]\d+\w?)?,? (?:{_PLACE}[ ,]++){{0,4}}?(?i:{_STREET})\b(?:, {WORD})*"
        ),
        _place,
    ),
    IdentifierPattern(
        "address",
        re.compile(
            rf"\b{WORD}(?:stra(?:ss|ß)e|str\.|weg|platz|gasse|allee|damm) \d+\w?(?:, {_POSTCODE})?"
        ),
    ),
    IdentifierPattern(
        "address",
        re.compile(
            rf"\b(?:Via|Viale|Calle|Rua|Avenida|Rue|rue|Corso|Plaza) (?:\w+ ){{1,4}}\d+(?:, {_POSTCODE})?"
        ),
    ),
    IdentifierPattern(
        "address",
        pattern(
            r"\bp\.? ?o\.? box \d+(?:,(?: (?-i:[A-Z])\w+){1,3}(?:,? (?-i:[A-Z]{2,3}))? \d{4,6}\b)?"
        ),
    ),
    IdentifierPattern("address", pattern(r"〒\d{3}-\d{4}[^\n;,.]*")),
    IdentifierPattern("record", pattern(rf"\b{_RECORDS}\b\.?{_OPEN}{{0,4}}{_IS}{_VALUE}"), _record),
    IdentifierPattern("record", pattern(rf"\b{_PAPERS}\b\.?{_OPEN}{{1,4}}{_IS}{_VALUE}"), _record),
    IdentifierPattern(
        "record",
        pattern(
            rf"\b(?i:{_PAPERS}) (?P<it>(?=[\w/-]*[A-Z])(?=(?:[^\s\d]*\d){{5}})[A-Z0-9][A-Z0-9/-]+)\b",
            case=True,
        ),
        _record,
    ),
    IdentifierPattern(
        "document",
        pattern(
            rf"\b{_CARDS}\b{_OPEN}{{0,4}}(?: (?:is|was|reads)){{0,3}}[\s:#.]{{1,3}}{_CAPITALS}"
        ),
        _card,
    ),
    IdentifierPattern(
        "device",
        pattern(
            rf"\b{_THINGS}\b{_OPEN}{{0,4}}(?: (?:is|was|reads)){{0,3}}[\s,:#.]{{1,3}}{_CAPITALS}"
        ),
        _thing,
    ),
    IdentifierPattern("record", pattern(rf"\bnumber(?: is| was|:) {_VALUE}"), _card),
    IdentifierPattern(
        "record",
        pattern(
            r"\b[A-Z]{1,3}RN[ :#]{1,2}(?P<it>\d{5,})\b",
            rf"\b(?!{_SCIENCE}-?\d)[A-Z]{{1,4}}-?\d{{6,10}}[A-Z]?\b",
            case=True,
        ),
    ),
    IdentifierPattern("phone", pattern(r"\+\d{1,3}[ ().-]{0,2}(?:\d[ ().-]{0,2}){6,12}\d"), _phone),
    IdentifierPattern(
        "phone",
        pattern(r"(?<![\w-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}\b"),
        _phone,
    ),
    IdentifierPattern("phone", pattern(r"\(0\d{1,4}\) ?\d{3,4}[ -]?\d{3,4}\b"), _phone),
    IdentifierPattern(
        "phone", pattern(r"(?<![\w./-])0\d{1,4}(?:[ ./-]{1,3}\d{2,4}){2,5}(?![\w/])"), _home
    ),
    IdentifierPattern("phone", pattern(r"(?<![\w./-])0\d{2,5}[ -]\d{5,8}\b"), _home),
    IdentifierPattern("phone", pattern(r"(?<![\w./-])0\d{9,10}\b"), _phone),
    IdentifierPattern(
        "phone",
        pattern(r"(?<![\w./-])[6-9]\d{4}[ -]?\d{5}\b", r"(?<![\w.-])555-\d{4}\b"),
        _phone,
    ),
    IdentifierPattern(
        "phone",
        pattern(
            r"\b(?:phone|tel(?:ephone)?|mobile|cell|fax|ring|call|text|dial|bleep|pager|whatsapp|kontakt|"
            r"contact|reach\w*|handy|telefon\w*|landline|sms|m[óo]vil|电话|전화)\b[^\n\d+]{0,30}?(?P<it>\d[\d ()./-]{5,16}\d)"
        ),
        _phone,
    ),
    IdentifierPattern(
        "phone",
        pattern(r"\b(?:bleep|pager|beep|ext(?:ension|n)?)\b\.?[ :#]{0,2}(?P<it>\d[\d-]{1,8})\b"),
    ),
    *NAMES,
)
_BESIDE_A_NAME = re.compile(
    rf",? \((?P<it>{_DATE})\)|[ ,\t|]{{1,3}}(?P<sexed>{_DATE})[ ,\t|]{{1,3}}[MF]\b"
)
_WITHOUT_DIGITS = ("name", "email", "web")
"""Kinds that need no digit; for all others a text without one is not looked at."""
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_TOKEN = re.compile(r"(?<![\w/-])\w+(?:[-/]\w+)*(?![\w/-])")


def identifiers(text: str) -> list[Identifier]:
    """Find what tells who somebody is; spans do not overlap, and stand in order."""
    taken: list[Identifier] = []
    left, has_digits = text, _DIGIT.search(text) is not None
    for sign in SIGNS:
        if not has_digits and sign.kind not in _WITHOUT_DIGITS:
            continue
        known = len(taken)
        ended = 0
        for match in linear_search.found(sign.pattern, left):
            start, end = _span(match)
            if start < ended or "\0" in left[start:end]:
                continue
            if sign.check(PatternMatch(text, start, end)):
                taken.append(Identifier(sign.kind, start, end))
                ended = end
        left = _without(left, taken[known:])
    taken += _neighbours(text, left, taken)
    return sorted(taken, key=lambda found: found.start)


def _without(text: str, taken: list[Identifier]) -> str:
    """Put NUL characters in the place of what was found, so that nothing is found twice."""
    pieces, place = [], 0
    for one in taken:
        pieces += [text[place : one.start], "\0" * (one.end - one.start)]
        place = one.end
    return "".join((*pieces, text[place:])) if taken else text


def _span(match: re.Match[str]) -> tuple[int, int]:
    """Return where the first group stands that has matched, or the whole."""
    groups = match.re.groupindex
    return next((match.span(name) for name in groups if match[name] is not None), match.span())


def _neighbours(text: str, left: str, taken: list[Identifier]) -> Iterator[Identifier]:
    """Find birth dates and second names beside names, and numbers like a record's number."""
    shapes = {_shape(text[one.start : one.end]) for one in taken if one.kind == "record"}
    for one in taken:
        if one.kind != "name":
            continue
        if date := _BESIDE_A_NAME.match(left, one.end):
            yield Identifier("birth", *_span(date))
        elif second := AFTER_A_NAME.match(left, one.end):
            start, end = _span(second)
            if is_second(PatternMatch(text, start, end)):
                yield Identifier("name", start, end)
    for token in linear_search.found(_TOKEN, left) if shapes else ():
        shape = _shape(token[0])
        if shape in shapes and len(shape) > 6 and "9" in shape:
            yield Identifier("record", *token.span())


def _shape(text: str) -> str:
    """Write a number as what its signs are."""
    return _LETTER.sub("A", _DIGIT.sub("9", text))


def redacted(inquiry: Inquiry) -> Inquiry:
    """Put a numbered mark in the place of every identifier, the same for the same."""
    marks: dict[str, str] = {}
    stem, *options = (_marked(text, marks) for text in (inquiry.stem, *inquiry.options))
    subject = inquiry.subject and _marked(inquiry.subject, marks)
    return inquiry.model_copy(update={"stem": stem, "options": tuple(options), "subject": subject})


def redacted_text(text: str) -> str:
    """Put a numbered mark in the place of every identifier in one text."""
    return _marked(text, {})


def _marked(text: str, marks: dict[str, str]) -> str:
    return "".join(_pieces(text, marks))


def _pieces(text: str, marks: dict[str, str]) -> Iterator[str]:
    place = 0
    for found in identifiers(text):
        yield text[place : found.start]
        known = text[found.start : found.end].casefold()
        yield marks.setdefault(known, f"[{found.kind} {len(marks) + 1}]")
        place = found.end
    yield text[place:]
