"""Read one line of a free answer: a letter, an option's text, both, or a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.records import LETTERS, Outcome
from medtune.evaluation.parsing.option_match import (
    find_mentioned_options,
    match_option,
    normalize_for_matching,
)
from medtune.evaluation.parsing.sentence import (
    contains_negation,
    first_sentence,
    option_at_end,
    option_at_start,
)

NAMES_NO_OPTION = "names no option"
CONTRADICTIONS = ("letter contradicts text", "no such letter")
COMPLETE_ANSWERS = ("letter", "letter and text", "option text")
"""Readings that are complete answers; with another answer below, there are two."""

MAX_LINE_LENGTH = 1000
"""Number of characters of a line that are read; an answer is at its beginning."""
_MAX_PARAGRAPH_LENGTH = 4000
"""Characters; in a longer paragraph no single sentence is read as the answer."""
# ">" is a Markdown quotation only before a letter: "> 5 cm" is an option.
ENUMERATOR = re.compile(r"^(?:[-*•]\s+|\(?\d{1,2}[.)]\s+|>\s*(?=[(\[]?[A-J][.:)\]]))")
_LETTER = r"(?:the\s+)?(?:(?i:option|choice|answer|letter)\s+)?[(\[]?\b([A-Ja-j])\b"
_LETTER_ONLY = re.compile(rf"^{_LETTER}[.:)\]!]*$")
_LETTER_FIRST = re.compile(rf"^{_LETTER}([.:)\]]*)[\s,–—-]*(\S.*)$")
_LETTER_RIGHT = re.compile(
    rf"^{_LETTER}[)\]]?\s+is\s+(?:the\s+)?(?:correct|right|best)"
    r"(?:\s+(?:answer|option|choice|one))?\s*(?:[.,;!]|\b(?:because|since|as)\b|$)"
)
_LETTER_LAST = re.compile(r"^(.+?)\s*[(\[](?:(?i:option|choice)\s+)?([A-J])[)\]][.!]*$")
_REASON = re.compile(
    r"(?:because|since|as)\b"
    r"(?!\s+(?:an?\s+|the\s+|my\s+)?(?:wrong|incorrect|false)\s+(?:answer|option|choice|one)\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:this|it|the|in|here|explanation)\b(?:\W+\w+){3,}", re.IGNORECASE)
_NOT_THIS = re.compile(r"^(?:not|none|neither|never|isn['’]t|is not)\b", re.IGNORECASE)
_DOTS = re.compile(r"^(?:\.{2,}|…)\s*")
_LETTERED_LATER = re.compile(r"(?:^|\s)[(\[]?[A-J][.:)\]]\s")
_MIN_PREFIX_LENGTH = 4
"""Least number of letters of a truncated option text for it to confirm the letter."""


@dataclass(frozen=True, slots=True)
class LineReading:
    """The option that was read from a line or a free answer."""

    chosen: int | None
    """Index of the option; None when unparsed."""
    reason: str
    """Rule that read the answer, or why none could be read."""

    def grade(self, answer: int) -> Outcome:
        """Return the outcome of the reading, given the right option."""
        if self.chosen is None:
            return Outcome.UNPARSED
        return Outcome.CORRECT if self.chosen == answer else Outcome.WRONG


def read_first_line(line: str, options: Sequence[str]) -> LineReading:
    """Read the first line of an answer without an announcement."""
    reading = read_line(ENUMERATOR.sub("", line), options, announced=False)
    if reading.reason != NAMES_NO_OPTION or len(line) > _MAX_PARAGRAPH_LENGTH:
        return reading
    led = option_at_end(line, options)
    return reading if led is None else LineReading(led, "option text in a sentence")


def read_line(payload: str, options: Sequence[str], *, announced: bool = True) -> LineReading:
    """Read the option that a line gives."""
    payload = _DOTS.sub("", payload[:MAX_LINE_LENGTH].strip(" *_"))
    if (whole := match_option(payload, options)) is not None:
        return LineReading(whole, "option text")
    if _NOT_THIS.match(payload):
        return LineReading(None, "negated")
    if alone := _LETTER_ONLY.match(payload):
        return _read_letter(alone[1], options, "letter")
    mentioned = find_mentioned_options(payload, options)
    if len(mentioned) == len(options):
        return LineReading(None, "names several options")
    led, last = _LETTER_FIRST.match(payload), _LETTER_LAST.match(payload)
    if last and (ended := _read_trailing_letter(led, last, options)) is not None:
        return ended
    if (opening := option_at_start(payload, options, announced=announced)) is not None:
        return LineReading(opening, "option text, then more")
    if (right := _LETTER_RIGHT.match(payload)) and not mentioned:
        return _read_letter(right[1], options, "letter, then more")
    if led:
        return _read_leading_letter(led, options)
    return LineReading(None, "names several options" if len(mentioned) > 1 else NAMES_NO_OPTION)


def _read_trailing_letter(
    led: re.Match[str] | None, last: re.Match[str], options: Sequence[str]
) -> LineReading | None:
    """Read a text followed by its letter: "Iron (B)", "It is stored as iron. (B)"."""
    by_letter = _read_letter(last[2], options, "letter and text")
    if (by_text := option_at_start(last[1], options)) is not None:
        return _check_agreement(by_letter, by_text)
    if led and led[2] and led[1].upper() != last[2]:
        return LineReading(None, "letter contradicts text")
    if find_mentioned_options(last[1], options) == {by_letter.chosen} and not contains_negation(
        last[1], options
    ):
        return by_letter
    return None


def _read_leading_letter(led: re.Match[str], options: Sequence[str]) -> LineReading:
    """Read a letter followed by its option's text or a reason."""
    letter, mark, rest = led[1], led[2], led[3]
    by_letter = _read_letter(letter, options, "letter and text")
    opening = first_sentence(rest)
    for text in (rest, opening):
        by_text = option_at_start(text, options)
        if by_text is not None and not (text != rest and _LETTERED_LATER.search(rest)):
            return _check_agreement(by_letter, by_text)
    mentioned = find_mentioned_options(rest, options)
    if mentioned == {by_letter.chosen} and mark and not contains_negation(rest, options):
        return by_letter
    if (
        mark
        and mentioned <= {by_letter.chosen}
        and _is_unique_prefix(opening, by_letter.chosen, options)
    ):
        return by_letter
    if not mentioned and (_REASON.match(rest) or (mark and _SENTENCE.match(rest))):
        return _read_letter(letter, options, "letter, then more")
    # "C. difficile", "A. or B.", "B) 100 mg" where B is 10 mg
    return LineReading(None, "letter contradicts text" if mark else NAMES_NO_OPTION)


def _is_unique_prefix(text: str, index: int | None, options: Sequence[str]) -> bool:
    """Return whether a truncated text is the beginning of this option only."""
    said = normalize_for_matching(text)
    begun = {
        i for i, option in enumerate(options) if normalize_for_matching(option).startswith(said)
    }
    return len(said) >= _MIN_PREFIX_LENGTH and said[-1].isalpha() and begun == {index}


def _check_agreement(by_letter: LineReading, by_text: int) -> LineReading:
    return (
        by_letter if by_letter.chosen == by_text else LineReading(None, "letter contradicts text")
    )


def _read_letter(letter: str, options: Sequence[str], rule: str) -> LineReading:
    index = LETTERS.index(letter.upper())
    return LineReading(index, rule) if index < len(options) else LineReading(None, "no such letter")


def option_of_list_line(line: str, options: Sequence[str]) -> int | None:
    """Return the option that a line of a list stands for."""
    line = line[:MAX_LINE_LENGTH]
    if (whole := option_of_whole_line(line, options)) is not None:
        return whole
    bare = ENUMERATOR.sub("", line)
    led = _LETTER_FIRST.match(bare)
    if led and led[2]:
        return _read_leading_letter(led, options).chosen
    alone = _LETTER_ONLY.match(bare)
    return _read_letter(alone[1], options, "letter").chosen if alone else None


def option_of_whole_line(line: str, options: Sequence[str]) -> int | None:
    """Return the option whose text is the whole line, apart from a number or letter in front."""
    bare = ENUMERATOR.sub("", line)
    led = _LETTER_FIRST.match(bare)
    for form in dict.fromkeys((line, bare, led[3] if led else bare)):
        if (index := match_option(form, options)) is not None:
            return index
    return None


def option_after_letter(line: str, options: Sequence[str]) -> int | None:
    """Return the option of a line that consists of a letter and the option's text."""
    led = _LETTER_FIRST.match(line)
    if led is None or not led[2] or match_option(led[3], options) is None:
        return None
    return _read_leading_letter(led, options).chosen
