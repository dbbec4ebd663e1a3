"""Find and redact personal identifiers; eponyms and medical numbers are kept.

Names, addresses and telephone numbers are tagged by a model that learned from other authors' texts;
what has a format is found by patterns, words that announce it, and check digits. Ages and the dates
of treatment are kept, because questions ask about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import linear_search
from medtune.guardrails.privacy.check_digits import (
    is_kvnr,
    is_luhn_valid,
    is_nhs_number,
    is_verhoeff_valid,
)
from medtune.guardrails.privacy.patterns import (
    IdentifierPattern,
    PatternMatch,
    identifier_pattern,
)
from medtune.guardrails.privacy.tagger import TAGGED_KINDS, IdentifierTagger, load_default_tagger


@dataclass(frozen=True, slots=True)
class Identifier:
    """The span of one identifier."""

    kind: str
    start: int
    end: int


IdentifierFinder = Callable[[str], list[Identifier]]
"""Finds the identifiers of a text; the spans are sorted and do not overlap."""
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
"""Prefixes of trial, paper, gene and substance numbers."""


def _is_phone(place: PatternMatch) -> bool:
    return 7 <= len(place.digits) <= 15


def _is_record_number(place: PatternMatch) -> bool:
    """Return whether it is a record number, not a year or an amount."""
    amount = re.match(r"\s*(?:mg|mL|%|years?|patients|cases|participants)\b", place.after)
    year = re.fullmatch(r"(?:19|20)\d\d", place.matched_text)
    return len(place.digits) >= 4 and not amount and not year


def _is_card_number(place: PatternMatch) -> bool:
    return _is_record_number(place) and len(place.digits) >= 5


def _is_device_number(place: PatternMatch) -> bool:
    if _is_record_number(place):
        return True
    letters = re.search(r"[A-Z]", place.matched_text) is not None
    return letters and len(place.matched_text) > 4 and len(place.digits) > 1


def _is_member_number(place: PatternMatch) -> bool:
    return len(place.digits) >= (6 if re.search("[A-Z]", place.matched_text) else 7)


def _is_personal_link(place: PatternMatch) -> bool:
    """Return whether a link may be personal: not a journal, authority or library."""
    public = (
        r"doi\.org|\.gov\b|who\.int|pubmed|ncbi|nejm|bmj|thelancet|cochrane|nice\.org|wikipedia"
    )
    return re.search(public, place.matched_text) is None


def _is_ip_address(place: PatternMatch) -> bool:
    """Return whether it is an IP address, not an enzyme number, which begins with 1 to 7."""
    parts = [int(part) for part in place.matched_text.split(".")]
    return parts[0] > 9 and max(parts) < 256


IDENTIFIER_PATTERNS: tuple[IdentifierPattern, ...] = (
    identifier_pattern("email", r"[\w.+-]{1,64}+@[\w-]+(?:\.[\w-]+)+"),
    identifier_pattern(
        "email", r"[\w.+-]{1,64}+ ?[\[(]at[\])] ?[\w-]+(?:(?:\.| ?[\[(]dot[\])] ?)\w+)+"
    ),
    identifier_pattern("web", r"\b(?:https?://|www\.)[^\s<>\"')]+[\w/]", check=_is_personal_link),
    identifier_pattern(
        "web",
        r"\b(?:facebook|instagram|twitter|tiktok|linkedin|youtube|snapchat|reddit|vk|x)\.com/[\w./@-]*[\w/]",
        r"\bt\.me/\w+",
        r"(?<![\w@.])@[a-z_][\w.]{2,28}\w",
        r"\b(?:instagram|snapchat|twitter|tiktok|insta|discord|skype|telegram)(?: handle| name| user(?:name)?)?(?: is|:) ?(?P<it>@?[\w.]{4,30}\w)",
    ),
    identifier_pattern("web", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])", check=_is_ip_address),
    identifier_pattern("device", r"\b[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\b"),
    identifier_pattern("birth", rf"{_BORN}[^\n\d]{{0,24}}?(?P<it>{_DATE})"),
    identifier_pattern(
        "birth",
        rf"(?P<it>{_DATE}) is (?:his|her|their|my|the \w+'s) (?:date of birth|birthday|dob)",
    ),
    identifier_pattern("birth", r"\|(?P<it>(?:19|20)\d{6})\|"),
    identifier_pattern(
        "document",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
        check=_is_card_number,
        case=True,
    ),
    identifier_pattern(
        "insurance",
        r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b",  # US social security
        r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        r"\b[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d{2}\b",  # Medicare
        case=True,
    ),
    identifier_pattern(
        "insurance",
        r"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b",
        check=lambda p: is_verhoeff_valid(p.matched_text),
    ),
    identifier_pattern(
        "insurance",
        r"\b(?:aadhaa?r|uidai|insurance|policy|member(?:ship)?|medicare|medicaid|versicherten\w*|"
        r"krankenkasse|ssn|card|kvnr|ayushman|nino|ni number|subscriber|health plan|insured|afiliado|ubezpieczen\w+|carteirinha|versicherung)\b[^\n\d]{0,60}?"
        r"(?P<it>(?:\b(?-i:[A-Z]{1,5})[ /-])?(?:(?-i:[A-Z]{1,3}))?\d[\d /-]{4,19}\d(?:[ -]?(?-i:[A-Z])\b)?)(?!\d)",
        check=_is_member_number,
    ),
    identifier_pattern(
        "insurance", r"\b[A-Z]\d{9}\b", check=lambda p: is_kvnr(p.matched_text), case=True
    ),
    identifier_pattern(
        "insurance", r"\b\d(?:[ -]?\d){12,18}\b", check=lambda p: is_luhn_valid(p.matched_text)
    ),
    identifier_pattern(
        "record", r"\b\d{3}[ -]\d{3}[ -]\d{4}\b", check=lambda p: is_nhs_number(p.matched_text)
    ),
    identifier_pattern(
        "record", rf"\b{_RECORDS}\b\.?{_OPEN}{{0,4}}{_IS}{_VALUE}", check=_is_record_number
    ),
    identifier_pattern(
        "record", rf"\b{_PAPERS}\b\.?{_OPEN}{{1,4}}{_IS}{_VALUE}", check=_is_record_number
    ),
    identifier_pattern(
        "record",
        rf"\b(?i:{_PAPERS}) (?P<it>(?=[\w/-]*[A-Z])(?=(?:[^\s\d]*\d){{5}})[A-Z0-9][A-Z0-9/-]+)\b",
        check=_is_record_number,
        case=True,
    ),
    identifier_pattern(
        "document",
        rf"\b{_CARDS}\b{_OPEN}{{0,4}}(?: (?:is|was|reads)){{0,3}}[\s:#.]{{1,3}}{_CAPITALS}",
        check=_is_card_number,
    ),
    identifier_pattern(
        "device",
        rf"\b{_THINGS}\b{_OPEN}{{0,4}}(?: (?:is|was|reads)){{0,3}}[\s,:#.]{{1,3}}{_CAPITALS}",
        check=_is_device_number,
    ),
    identifier_pattern("record", rf"\bnumber(?: is| was|:) {_VALUE}", check=_is_card_number),
    identifier_pattern(
        "record",
        r"\b[A-Z]{1,3}RN[ :#]{1,2}(?P<it>\d{5,})\b",
        rf"\b(?!{_SCIENCE}-?\d)[A-Z]{{1,4}}-?\d{{6,10}}[A-Z]?\b",
        case=True,
    ),
    identifier_pattern(
        "phone", r"\+\d{1,3}[ ().-]{0,2}(?:\d[ ().-]{0,2}){6,12}\d", check=_is_phone
    ),
    identifier_pattern(
        "phone", r"\b(?:bleep|pager|beep|ext(?:ension|n)?)\b\.?[ :#]{0,2}(?P<it>\d[\d-]{1,8})\b"
    ),
    # As DICOM and HL7 write names.
    identifier_pattern("name", r"\b[A-Z][\w'-]{1,40}+\^[A-Z][\w'-]+(?:\^[\w.]+)*", case=True),
)
IDENTIFIER_KINDS = tuple(sorted({sign.kind for sign in IDENTIFIER_PATTERNS} | set(TAGGED_KINDS)))
"""Kinds of identifiers, as marks name them."""
_BESIDE_A_NAME = re.compile(
    rf",? \((?P<it>{_DATE})\)|[ ,\t|]{{1,3}}(?P<sexed>{_DATE})[ ,\t|]{{1,3}}[MF]\b"
)
_NOT_TAKEN = re.compile(r"[^\W_](?:[^\0]*[^\W_])?")
_WITHOUT_DIGITS = ("name", "email", "web")
"""Kinds that need no digit; a text without digits is searched for these only."""
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_REST = re.compile(r"[^\s<>\"')\0]+")
"""What is left of a link or an address of mail that is longer than a search reaches."""
_TOKEN = re.compile(r"(?<![\w/-])\w+(?:[-/]\w+)*(?![\w/-])")


def find_identifiers(text: str, tagger: IdentifierTagger | None = None) -> list[Identifier]:
    """Find personal identifiers; the spans are sorted and do not overlap.

    The tagger finds names, addresses and telephone numbers; None is the default one.
    """
    taken: list[Identifier] = []
    left, has_digits = text, _DIGIT.search(text) is not None
    for sign in IDENTIFIER_PATTERNS:
        if not has_digits and sign.kind not in _WITHOUT_DIGITS:
            continue
        known = len(taken)
        ended = 0
        for match in linear_search.find_all(sign.pattern, left):
            start, end = _match_span(match)
            if end - start >= linear_search.REACH and (rest := _REST.match(left, end)):
                end = rest.end()
            if start < ended or "\0" in left[start:end]:
                continue
            if sign.check(PatternMatch(text, start, end)):
                taken.append(Identifier(sign.kind, start, end))
                ended = end
        left = _blank(left, taken[known:])
    tagged = [
        Identifier(kind, *part.span())
        for kind, start, end in (tagger or load_default_tagger()).find(text)
        for part in _NOT_TAKEN.finditer(left, start, end)
    ]
    taken += tagged
    taken += _find_adjacent(text, _blank(left, tagged), taken)
    return sorted(taken, key=lambda found: found.start)


def _blank(text: str, spans: Iterable[Identifier]) -> str:
    """Blank out what was found, so that nothing is found twice."""
    return _replace_spans(text, spans, lambda one: "\0" * (one.end - one.start))


def _match_span(match: re.Match[str]) -> tuple[int, int]:
    """Return the span of the first matched group, or of the whole match."""
    groups = match.re.groupindex
    return next((match.span(name) for name in groups if match[name] is not None), match.span())


def _find_adjacent(text: str, left: str, taken: list[Identifier]) -> Iterator[Identifier]:
    """Find birth dates beside names, and numbers shaped like record numbers."""
    shapes = {_digit_shape(text[one.start : one.end]) for one in taken if one.kind == "record"}
    names = (one for one in taken if one.kind == "name")
    beside = (_BESIDE_A_NAME.match(left, name.end) for name in names)
    dates = [Identifier("birth", *_match_span(date)) for date in beside if date]
    dates.sort(key=lambda one: one.start)
    yield from dates
    left = _blank(left, dates)
    for token in linear_search.find_all(_TOKEN, left) if shapes else ():
        shape = _digit_shape(token[0])
        if shape in shapes and len(shape) > 6 and "9" in shape:
            yield Identifier("record", *token.span())


def _digit_shape(text: str) -> str:
    """Return the shape of a number: 9 for digits, A for letters."""
    return _LETTER.sub("A", _DIGIT.sub("9", text))


def redact_inquiry(inquiry: Inquiry, find: IdentifierFinder = find_identifiers) -> Inquiry:
    """Replace every identifier in an inquiry by a numbered mark, equal ones by the same."""
    marks: dict[str, str] = {}
    stem, *options = (redact_text(text, marks, find) for text in (inquiry.stem, *inquiry.options))
    subject = inquiry.subject and redact_text(inquiry.subject, marks, find)
    return inquiry.model_copy(update={"stem": stem, "options": tuple(options), "subject": subject})


def redact_text(
    text: str,
    marks: dict[str, str] | None = None,
    find: IdentifierFinder = find_identifiers,
) -> str:
    """Replace every identifier in a text by a numbered mark.

    Args:
        text: A text.
        marks: Marks of other texts, which are extended in place.
        find: Finds the identifiers.
    """
    known = {} if marks is None else marks

    def mark(found: Identifier) -> str:
        name = text[found.start : found.end].casefold()
        return known.setdefault(name, f"[{found.kind} {len(known) + 1}]")

    return _replace_spans(text, find(text), mark)


def _replace_spans(
    text: str, spans: Iterable[Identifier], replacement: Callable[[Identifier], str]
) -> str:
    pieces, place = [], 0
    for one in spans:
        pieces += [text[place : one.start], replacement(one)]
        place = one.end
    return "".join((*pieces, text[place:]))
