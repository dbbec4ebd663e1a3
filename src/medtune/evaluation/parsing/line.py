"""Read one line of a free answer: a letter, an option's text, both, or a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.records import LETTERS, Outcome
from medtune.evaluation.parsing.option_match import fold, mentioned_options, named_option
from medtune.evaluation.parsing.sentence import denies, first_sentence, led_up_to, opened_with

NOTHING = "names no option"
CONTRADICTED = ("letter contradicts text", "no such letter")
COMPLETE = ("letter", "letter and text", "option text")
"""Lines that answer by themselves: with another answer below, there are two."""

LONGEST = 1000
"""Characters of a line that are read: an answer stands at the beginning of what gives it."""
_LONGEST_PARAGRAPH = 4000
"""Characters; in a longer one, no single sentence is the answer."""
# A quotation mark of Markdown only before a letter: "> 5 cm" is an option.
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
_SHORTEST_BEGINNING = 4
"""Letters that must be there of an option's text for its letter to agree with it."""


@dataclass(frozen=True, slots=True)
class LineReading:
    """What was read out of a free answer."""

    chosen: int | None
    """Index of the option; None when unparsed."""
    reason: str
    """The rule that read it, or why nothing was read."""

    def outcome(self, answer: int) -> Outcome:
        """Compare with the key."""
        if self.chosen is None:
            return Outcome.UNPARSED
        return Outcome.CORRECT if self.chosen == answer else Outcome.WRONG


def read_first(line: str, options: Sequence[str]) -> LineReading:
    """Read the first line, which nothing announced."""
    reading = read(ENUMERATOR.sub("", line), options, announced=False)
    if reading.reason != NOTHING or len(line) > _LONGEST_PARAGRAPH:
        return reading
    led = led_up_to(line, options)
    return reading if led is None else LineReading(led, "option text in a sentence")


def read(payload: str, options: Sequence[str], *, announced: bool = True) -> LineReading:
    """Tell which option a line gives."""
    payload = _DOTS.sub("", payload[:LONGEST].strip(" *_"))
    if (whole := named_option(payload, options)) is not None:
        return LineReading(whole, "option text")
    if _NOT_THIS.match(payload):
        return LineReading(None, "negated")
    if alone := _LETTER_ONLY.match(payload):
        return _letter(alone[1], options, "letter")
    mentioned = mentioned_options(payload, options)
    if len(mentioned) == len(options):
        return LineReading(None, "names several options")
    led, last = _LETTER_FIRST.match(payload), _LETTER_LAST.match(payload)
    if last and (ended := _ended(led, last, options)) is not None:
        return ended
    if (opening := opened_with(payload, options, announced=announced)) is not None:
        return LineReading(opening, "option text, then more")
    if (right := _LETTER_RIGHT.match(payload)) and not mentioned:
        return _letter(right[1], options, "letter, then more")
    if led:
        return _lettered(led, options)
    return LineReading(None, "names several options" if len(mentioned) > 1 else NOTHING)


def _ended(
    led: re.Match[str] | None, last: re.Match[str], options: Sequence[str]
) -> LineReading | None:
    """Read a text with its letter behind it: "Iron (B)", "It is stored as iron. (B)"."""
    by_letter = _letter(last[2], options, "letter and text")
    if (by_text := opened_with(last[1], options)) is not None:
        return _agreed(by_letter, by_text)
    if led and led[2] and led[1].upper() != last[2]:
        return LineReading(None, "letter contradicts text")
    if mentioned_options(last[1], options) == {by_letter.chosen} and not denies(last[1], options):
        return by_letter
    return None


def _lettered(led: re.Match[str], options: Sequence[str]) -> LineReading:
    """Read a letter with what follows it: its option's text, or a reason."""
    letter, mark, rest = led[1], led[2], led[3]
    by_letter = _letter(letter, options, "letter and text")
    opening = first_sentence(rest)
    for text in (rest, opening):
        by_text = opened_with(text, options)
        if by_text is not None and not (text != rest and _LETTERED_LATER.search(rest)):
            return _agreed(by_letter, by_text)
    mentioned = mentioned_options(rest, options)
    if mentioned == {by_letter.chosen} and mark and not denies(rest, options):
        return by_letter
    if mark and mentioned <= {by_letter.chosen} and _begins(opening, by_letter.chosen, options):
        return by_letter
    if not mentioned and (_REASON.match(rest) or (mark and _SENTENCE.match(rest))):
        return _letter(letter, options, "letter, then more")
    # "C. difficile", "A. or B.", "B) 100 mg" where B is 10 mg
    return LineReading(None, "letter contradicts text" if mark else NOTHING)


def _begins(text: str, index: int | None, options: Sequence[str]) -> bool:
    """Tell whether a text, cut short, is the beginning of this option and of no other."""
    said = fold(text)
    begun = {i for i, option in enumerate(options) if fold(option).startswith(said)}
    return len(said) >= _SHORTEST_BEGINNING and said[-1].isalpha() and begun == {index}


def _agreed(by_letter: LineReading, by_text: int) -> LineReading:
    return (
        by_letter if by_letter.chosen == by_text else LineReading(None, "letter contradicts text")
    )


def _letter(letter: str, options: Sequence[str], rule: str) -> LineReading:
    index = LETTERS.index(letter.upper())
    return LineReading(index, rule) if index < len(options) else LineReading(None, "no such letter")


def line_option(line: str, options: Sequence[str]) -> int | None:
    """Tell which option a line of a list would be."""
    line = line[:LONGEST]
    if (whole := whole_line(line, options)) is not None:
        return whole
    bare = ENUMERATOR.sub("", line)
    led = _LETTER_FIRST.match(bare)
    if led and led[2]:
        return _lettered(led, options).chosen
    alone = _LETTER_ONLY.match(bare)
    return _letter(alone[1], options, "letter").chosen if alone else None


def whole_line(line: str, options: Sequence[str]) -> int | None:
    """Tell which option a line writes out, after its number or letter if it has one."""
    bare = ENUMERATOR.sub("", line)
    led = _LETTER_FIRST.match(bare)
    for form in dict.fromkeys((line, bare, led[3] if led else bare)):
        if (index := named_option(form, options)) is not None:
            return index
    return None


def letter_and_option(line: str, options: Sequence[str]) -> int | None:
    """Tell which option a line writes out after its letter, and nothing else."""
    led = _LETTER_FIRST.match(line)
    if led is None or not led[2] or named_option(led[3], options) is None:
        return None
    return _lettered(led, options).chosen
