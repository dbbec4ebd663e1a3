"""Take out what tells who somebody is; eponyms and numbers of medicine stay.

By pattern, by words that announce them, by check digits and first names.  No model: a name that
neither title, relation nor first name tells is not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medtune.core.guard import Inquiry
from medtune.guard.names import given_names, is_nobodys, lone_names
from medtune.guard.numbers import digits, kvnr, luhn, nhs, verhoeff

Check = Callable[[str, str], bool]
"""Of what was found, and what follows it."""


@dataclass(frozen=True, slots=True)
class Found:
    """One identifier."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Sign:
    """How identifiers of one kind look.

    Attributes:
        kind: name, phone, email, record, birth, address or insurance.
        pattern: Its group `it` is the identifier, or all of it where there is none.
        check: Says no to what only looks like one.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Check = lambda _found, _after: True


_UPPER = "A-ZÀ-ÖØ-Þ" + "".join(chr(c) for c in range(0x100, 0x250) if chr(c).isupper())
_WORD = rf"[{_UPPER}](?:[\w'’]*[a-zß-ÿ][\w'’]*|\.)(?:-[{_UPPER}][\w'’]+)*"
_OF = r"(?:(?:de|da|do|van|von|der|den|bin|ibn|al|el|du|la|di|le|ter|ten|Ó) )"
_NAME = (
    rf"(?P<it>{_OF}{{0,2}}{_WORD}(?:[ \u00a0]{_OF}{{0,2}}(?:(?:al|az|el|an|as)-)?{_WORD}){{0,3}})"
)
_FULL = _NAME.replace("{0,3}", "{1,3}")
_MONTH = r"(?:(?:jan|feb|f[ée]v|mar|apr|avr|may|mai|jun|jul|aug|ao[uû]|sep|oct|nov|dec|d[ée]c)[a-z]*\.?|[IVX]{1,4})"
_DATE = (
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{2,4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[ .-]+(?:of )?{_MONTH}[ ,.-]+'?\d{{2,4}}"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}"
    r"|(?:christmas|new year's|boxing|midsummer|easter|halloween)[a-z' ]{0,12} \d{4})"
)
_POSTCODE = (
    r"(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"  # United Kingdom
    r"|[A-Z]{2},? \d{5}(?:-\d{4})?\b"  # United States
    rf"|[{_UPPER}][\w'-]+,?[ -]+\d{{6}}\b"  # India
    rf"|(?!(?:19|20)\d\d\b)\d{{4,5}} [{_UPPER}][\w'-]+)"  # much of Europe
)
_PLACE = rf"(?:[{_UPPER}][\w'./-]*|\d[\w/-]*|rue|des?|du|la|y|of|the|and|upon|der|am|im|von)"
_DOOR = r"\b(?:(?i:flat|apt\.?|apartment|block|unit|house|door|room|suite|plot|h\.? ?no\.?)(?: no\.?)? ?[\w/-]+, )*"
_STREET = (
    r"(?:street|st|road|rd|lane|ln|avenue|ave|drive|dr|close|court|ct|mews|terrace|gardens|crescent|"
    r"place|square|way|row|walk|hill|grove|park|boulevard|blvd|highway|parade|bend|steps|cottages?|"
    r"quay|view|rise|green|nagar|marg|colony|layout|stra(?:ss|ß)e|platz|weg|gasse|allee)"
)
_TITLE = (
    r"(?:M(?:r|rs|s|iss|x|str|aster|adam|adame|me|aj)|D(?:r|ame)|Prof(?:essor)?|Shri|Shrimati|"
    r"S(?:mt|ri|ister|ir|gt|e[nñ]ora?|ignora?)|Kumari|Nurse|C(?:apt|aptain|ol|olonel)|Rev(?:erend)?|"
    r"Frau|Imam|Rabbi|Herr|Monsieur|Lady|Sheikh|Pan[i]?|Dhr|Mevr|Sra?|PC|FY[12]|S[pT]R|mr|mrs|ms|dr|prof)"
)
_KIN = (
    r"(?:husband|wife|partner|son|daughter|brother|sister|mother|father|mum|mom|dad|uncle|aunt|niece|"
    r"nephew|cousin|grandson|granddaughter|grandmother|grandfather|friend|neighbou?r|flatmate|fianc[eé]e?|"
    r"carer|guardian|boyfriend|girlfriend)"
)
_MAY_NAME_A_DISEASE = (
    r"(?i:called|named?|this is|known as|aka|patient|pt|doctor|surgeon|physician)\b"
)
_GOES_ON = r"[,.:;!?)]|$|\n| (?:is|was|has|had|who|and|with|from|in|on|about|to|rang|said|says)\b"
_SMALL, _GOES = r"[a-z]{3,} [a-z]{3,}", r",| was| is| has"
_DOES = r"(?:called|came|said|says|asked|asks|wrote|lives|phoned|rang)\b"
_CUE = (
    r"(?:patient(?: is|'s name is)?|pt|client|claimant|name(?: is|d)?|(?:in the )?name of|called|"
    r"next of kin|nok|registrar|consultant|surgeon|physician|attender|attendant|contact|signed(?: by)?|"
    r"attn|attention(?: of)?|c/o|cc|regards|sincerely|ask for|message for|claim of|belonging to|"
    r"belongs to(?: a different)?|i am|i'm|this is|the form said|labelled|addressed to|written by|"
    r"spoke (?:to|with)|told|asked|met|saw|hi|hello|hey|dear|née|nee|aka|known as|real name|name as|herself as|himself as|"
    r"reported by|taken by|handed over to|apologies (?:received )?from|attending|surgeon|assistant|witness|referrer|subscriber|fao|"
    r"nurse|midwife|physio|dietitian|solicitor|coach|manager|interpreter|worker|pharmacist|officer|doctor|gp|proband|"
    r"referred by|seen by|reviewed by|accompanied by|" + _KIN + ")"
)


def _any(*patterns: str, case: bool = False) -> re.Pattern[str]:
    return re.compile("|".join(patterns), 0 if case else re.IGNORECASE)


def _people(name: str, after: str) -> bool:
    return not is_nobodys(name, after)


def _given(name: str, after: str) -> bool:
    """Tell by a first name."""
    return name.split()[0].capitalize() in given_names() and not is_nobodys(name, after)


def _lone(name: str, after: str) -> bool:
    """Tell by a first name that medicine does not share; what follows may make it history."""
    more = re.match(rf"(?: {_WORD}){{0,2}}", after)
    whole = name + (more[0] if more else "")
    known = re.split(r"[-'’]", name)[0] in lone_names()
    return known and not is_nobodys(whole, after[len(whole) - len(name) :])


def _turned(name: str, after: str) -> bool:
    """Tell "SMITH, John" by its first name."""
    return _given(name.split(", ")[1], after) and not is_nobodys(name.split(",")[0], "")


def _place(found: str, _after: str) -> bool:
    """Tell an address from amounts: it has a house number, or a British postcode behind names."""
    amount = re.search(r"\b(?:mg|mL|mmol|IU|mcg|units?)\b", found) is not None
    front = re.sub(rf"{_POSTCODE}$", "", found)
    british = re.search(r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}$", found) is not None
    return not amount and (len(digits(front)) > 0 or (british and front.count(" ") > 1))


def _phone(found: str, after: str) -> bool:
    return 7 <= len(digits(found)) <= 15 and not re.match(r"\s*(?:IU|mg|mL|units?)\b", after)


def _record(found: str, after: str) -> bool:
    """Tell a number from a year or an amount."""
    amount = re.match(r"\s*(?:mg|mL|%|years?|patients)\b", after) is not None
    year = re.fullmatch(r"(?:19|20)\d\d", found) is not None
    return len(digits(found)) >= 4 and not amount and not year


SIGNS: tuple[Sign, ...] = (
    Sign("email", _any(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    Sign(
        "birth",
        _any(
            rf"\b(?:d\.?o\.?b\.?|date of birth|birth ?(?:date|day)|born|n[ée]e? le|nacimiento|geb(?:oren)?\.?|b\.)"
            rf"[^\n\d]{{0,24}}?(?P<it>{_DATE})"
        ),
    ),
    Sign(
        "insurance",
        _any(
            r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b",  # US social security
            r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
            r"\b[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d{2}\b",  # Medicare
            case=True,
        ),
    ),
    Sign("insurance", _any(r"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b"), lambda s, _: verhoeff(s)),
    Sign(
        "insurance",
        _any(
            r"\b(?:aadhaa?r|uidai|insurance|policy|member(?:ship)?|medicare|medicaid|versicherten\w*|"
            r"krankenkasse|ssn|card|kvnr|ayushman)\b[^\n\d]{0,60}?(?P<it>[A-Z]{0,3}\d[\d -]{6,17}\d[A-Z]?)(?!\d)"
        ),
    ),
    Sign("insurance", _any(r"\b[A-Z]\d{9}\b", case=True), lambda s, _: kvnr(s)),
    Sign("insurance", _any(r"\b\d(?:[ -]?\d){12,18}\b"), lambda s, _: luhn(s)),
    Sign("record", _any(r"\b\d{3}[ -]\d{3}[ -]\d{4}\b"), lambda s, _: nhs(s)),
    Sign(
        "record",
        _any(
            r"\b(?:mrn|uhid|hosp|case notes?|label|cr no|ipd?(?: no)?|opd?(?: no)?|nhs|chi|hospital|records?|case|chart|encounter|"
            r"accession|visit|admission|file|notes|folder|unit|ward id|patient id|reg(?:istration)?|id|"
            r"identifier)\b(?:[ ]?(?:number|no\b\.?|id\b|#|nr\b\.?))*"
            r"\.?(?:[ ](?:number|no\.?))?(?:[ ](?:is|are|was|under|ending|reads))*[\s,:#.=]{1,3}"
            r"(?P<it>(?:[A-Z]{1,5}[-/]?)?\d[\w]*(?:[-/][\w]+)*(?: \d{3} \d{4})?"
            r"|[A-Z]{2,5}(?:[/-]\w+)*[/-]\d{3,})"
        ),
        _record,
    ),
    Sign("phone", _any(r"\+\d{1,3}[ ().-]{0,2}(?:\d[ ().-]{0,2}){6,12}\d"), _phone),
    Sign(
        "phone", _any(r"(?<![\w-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}\b"), _phone
    ),
    Sign(
        "phone",
        _any(r"(?<![\w./-])0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}\b", r"(?<![\w./-])0\d{9,10}\b"),
        _phone,
    ),
    Sign("phone", _any(r"(?<![\w./-])[6-9]\d{4} \d{5}\b", r"(?<![\w.-])555-\d{4}\b"), _phone),
    Sign(
        "phone",
        _any(
            r"\b(?:phone|tel(?:ephone)?|mobile|cell|fax|ring|call|text|dial|bleep|pager|whatsapp|kontakt|"
            r"contact|reach\w*)\b[^\n\d+]{0,30}?(?P<it>\d[\d ().-]{5,16}\d)"
        ),
        _phone,
    ),
    Sign("address", re.compile(rf"{_DOOR}(?:{_PLACE}[ ,]+){{1,9}}?{_POSTCODE}"), _place),
    Sign(
        "address",
        re.compile(
            rf"{_DOOR}\b\d{{1,5}}(?:[A-Za-z]|[/-]\d+\w?)?,? (?:{_PLACE}[ ,]+){{0,4}}?(?i:{_STREET})\b(?:, {_WORD})*"
        ),
        _place,
    ),
    Sign(
        "address",
        re.compile(
            rf"\b{_WORD}(?:stra(?:ss|ß)e|str\.|weg|platz|gasse|allee|damm) \d+\w?(?:, {_POSTCODE})?"
        ),
    ),
    Sign(
        "address",
        re.compile(
            rf"\b(?:Via|Viale|Calle|Rua|Avenida|Rue|rue|Corso|Plaza) (?:\w+ ){{1,4}}\d+(?:, {_POSTCODE})?"
        ),
    ),
    Sign("address", _any(r"\bp\.? ?o\.? box \d+")),
    Sign("name", re.compile(rf"\b{_TITLE}\b\.? {_NAME}"), _people),
    Sign("name", re.compile(rf"\b(?i:{_CUE})\b[,:]? {_FULL}"), _people),
    Sign(
        "name", re.compile(rf"\b(?i:my|his|her|their|our) (?i:{_KIN}),? (?P<it>{_WORD})\b"), _people
    ),
    Sign("name", re.compile(rf"\b(?={_FULL})"), _given),
    Sign(
        "name",
        re.compile(
            rf"\b(?!{_MAY_NAME_A_DISEASE})(?i:{_CUE})\b[:,]? (?!{_TITLE}\b)(?P<it>{_WORD})(?={_GOES_ON})"
        ),
        _people,
    ),
    Sign(
        "name",
        re.compile(
            rf"\b(?:[Nn]ame|NAME|SURNAME|FORENAMES?|PATIENT|letters\)):? (?P<it>[{_UPPER}]{{3,}}(?: [{_UPPER}]{{1,2}}\.?| [{_UPPER}]{{3,}})*)(?=\s|$)"
        ),
    ),
    Sign("name", re.compile(rf"\b(?P<it>[{_UPPER}]{{3,}}, {_WORD})(?= )"), _turned),
    Sign("name", re.compile(rf"\b(?P<it>(?:[{_UPPER}]\. ?){{1,3}}{_WORD}) (?={_DOES})"), _people),
    Sign(
        "name", re.compile(rf"\b(?:mr|mrs|ms|dr|pt|name)[.:]* (?P<it>{_SMALL})(?={_GOES})"), _given
    ),
    Sign("name", re.compile(rf"\b(?P<it>{_WORD})"), _lone),
)


def identifiers(text: str) -> list[Found]:
    """Find what tells who somebody is; spans do not overlap, and stand in order."""
    taken: list[Found] = []
    for sign in SIGNS:
        for match in sign.pattern.finditer(text):
            group = "it" if "it" in match.re.groupindex else 0
            start, end = match.span(group)
            free = all(end <= other.start or start >= other.end for other in taken)
            if free and sign.check(text[start:end], text[end:]):
                taken.append(Found(sign.kind, start, end))
    return sorted(taken, key=lambda found: found.start)


def redacted(inquiry: Inquiry) -> Inquiry:
    """Put a numbered mark in the place of every identifier, the same for the same."""
    marks: dict[str, str] = {}
    stem, *options = (_marked(text, marks) for text in (inquiry.stem, *inquiry.options))
    return inquiry.model_copy(update={"stem": stem, "options": tuple(options)})


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
