"""Remove exam tags that question banks add to a stem: "AIIMS 12", "(AI 2010)", "- March 2013".

The same question occurs with and without them; they name the exam and are no part of the question.
"""

from __future__ import annotations

import re

# Names without a medical meaning: with a year, they are a tag at any position.
_EXAMS = frozenset(
    (
        "aiims aipgmee aipgmet aipg aipge neet inicet pgi pgimer sgpgi dnb nbe jipmer fmge upsc "
        "cmse uppgmee comedk comed kcet mahe nimhans nimhas nims afmc bhu pgmee pgmet tnpgmee "
        "tnpg cupgee wbpg lipsc mci usmle plab mrcp keam kpgmet tsemcet eamcet rrb esic"
    ).split()
)
_STATES = frozenset(
    (
        "karnataka kerala manipal delhi bihar jharkhand gujarat rajasthan maharashtra punjab "
        "assam orissa odisha rohtak haryana uttarakhand chhattisgarh himachal tamilnadu"
    ).split()
)
# Abbreviations with other meanings: a tag only beside punctuation, in capitals, with a year.
_ABBREVIATIONS = frozenset(
    "AI Al AP UP MP MH HP WB TN RJ AMU CMC AMC KAR MAH CET IP INI CET".split()
)
_MONTHS = frozenset(
    (
        "jan january feb february mar march apr april may jun june jul july aug august sep sept "
        "september oct october nov november dec december"
    ).split()
)
_FILLERS = frozenset(
    (
        "pattern repeat repeats rpt recent latest based pg ss mds md screening paper question exam"
    ).split()
)
_NAMES = _EXAMS | _STATES | _MONTHS | _FILLERS
_LABELS = frozenset(["pattern", "repeat", "repeats", "rpt"])
# Exams whose name has another meaning: a tag only with a year.
_AMBIGUOUS_EXAMS = frozenset("mci rrb".split())

_MAX_TAG_WORDS = 24  # words
_WORD = re.compile(r"[A-Za-z]+|\d+")
_BRACKET = re.compile(r"[(\[{]([^()\[\]{}]{2,80})[)\]}]")
_ASKED = re.compile(r"[(\[{]\s*asked\s[^()\[\]{}]{2,40}[)\]}]", re.IGNORECASE)
_NUMBERING = re.compile(r"^\s*(?:q(?:uestion)?\s*\d*\s*[.):-]\s*|\d{1,3}[.)]\s+)", re.IGNORECASE)
_PUNCTUATION = frozenset(".,:;?!-–—_/|*)]}'\"")


def strip_exam_tags(stem: str) -> str:
    """Remove exam tags and the question's number from a stem; the result is never empty."""
    shorter = _BRACKET.sub(
        lambda m: " " if _is_bracketed_tag(_WORD.findall(m[1])) else m[0], _ASKED.sub(" ", stem)
    )
    shorter = _NUMBERING.sub("", _strip_tag_runs(shorter))
    return shorter if shorter.strip(" .,:;?!-–—_/|*()[]{}'\"") else stem


def _strip_tag_runs(stem: str) -> str:
    """Remove tags at the end and the front, and dated exams in the middle."""
    words = list(_WORD.finditer(stem))
    first, bound = len(words), max(0, len(words) - _MAX_TAG_WORDS)
    while first > bound and _may_be_in_tag(words[first - 1][0], stem, words[first - 1].start()):
        first -= 1
    # The run may include a last word that is not part of the tag ("... in May 2012", "type 2").
    for start in range(first, len(words)):
        before = stem[: words[start].start()].rstrip()
        parted = not before or before[-1] in _PUNCTUATION
        ended = stem[words[start].end() :][:1] in (":", ";")  # "the best use of AI: PGI 2010"
        if (parted or not ended) and _is_tag([word[0] for word in words[start:]], parted):
            stem, words = before, words[:start]
            break
    end = 0
    while end < len(words) and _may_be_in_tag(words[end][0], stem, words[end].start()):
        end += 1
    if 0 < end < len(words):
        rest = stem[words[end - 1].end() :].lstrip(" )]}")
        exam = words[0][0].casefold() in _EXAMS
        if exam and rest[:1] in _PUNCTUATION and _is_tag([w[0] for w in words[:end]], True):
            stem = rest.lstrip(" .,:;-–—|")
    return _DATED.sub(" ", stem)


def _is_bracketed_tag(words: list[str]) -> bool:
    """Return whether a bracket holds a tag; with a year, lower-case abbreviations count too."""
    if any(map(_is_year, (word for word in words if word.isdigit()))):
        words = [word.upper() if word.upper() in _ABBREVIATIONS else word for word in words]
    return _is_tag(words, True)


def _may_be_in_tag(word: str, stem: str, at: int) -> bool:
    """Return whether a word may be part of a tag."""
    low = word.casefold()
    if word.isdigit():
        return _is_year(word) and stem[at - 1 : at] not in (".", "%", "<", ">", "=")
    if len(word) == 1:  # "D. REPEAT", "NEET PG Q"
        return word.isupper()
    return low in _NAMES or word in _ABBREVIATIONS


def _is_year(word: str) -> bool:
    return len(word) == 2 or (len(word) == 4 and word[:2] in ("19", "20"))


def _is_tag(words: list[str], parted: bool) -> bool:
    """Return whether words are a tag: an exam, with or without a date, or a month with a year.

    Args:
        words: All words of the possible tag.
        parted: Whether punctuation or a bracket separates them from the question.
    """
    low = [word.casefold() for word in words]
    if not low or not all(_may_be_in_tag(word, "", 0) for word in words):
        return False
    dated = any(map(_is_year, (w for w in words if w.isdigit())))
    years = sum(w.isdigit() and len(w) == 4 for w in words)
    full = years > 0
    if words[0].isdigit():  # a tag begins with a name, except "(2014 Feb D. REPEAT)"
        return parted and full and not (_LABELS | _EXAMS).isdisjoint(low)
    if len(words[0]) == 1:
        return parted and not _LABELS.isdisjoint(low)
    if low[0] in _AMBIGUOUS_EXAMS:
        return dated and (low[1].isdigit() or low[1] in _MONTHS | _FILLERS)
    if low[0] in _EXAMS:
        return dated or parted
    # "TN 1998, MP 2004" is a tag without punctuation before it.
    twice = years > 1 and (low[1].isdigit() or low[1] in _MONTHS)
    if low[0] in _STATES or words[0] in _ABBREVIATIONS:
        return dated and (parted or twice)
    if low[0] in _MONTHS:
        return full and (parted or twice)
    return parted and (full or not _LABELS.isdisjoint(low))


def _any_of(words: frozenset[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_GAP = r"[\s\-–.,:'’/]*"
_DATED = re.compile(
    rf"(?<!\w)#?(?:{_any_of(_EXAMS - _AMBIGUOUS_EXAMS)}|ini{_GAP}cet){_GAP}"
    rf"(?:(?:{_any_of(_MONTHS | _FILLERS)}){_GAP})?(?:(?:19|20)\d\d|\d\d)(?![\w%])",
    re.IGNORECASE,
)
