"""The strict parser: which option does a free answer give?

What is ambiguous is unparsed, never correct: echoes of the question, dumps of the options, two
answers, negated answers, a letter that contradicts its text, new questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medtune.answers.match import mentioned_options, named_option
from medtune.core.records import LETTERS, Outcome

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_TURN_END = re.compile(r"<\|(?:im_end|eot_id|endoftext|end_of_text|end)\|>|</s>|<end_of_turn>")
_SPECIAL = re.compile(r"<\|[^|<>]*\|?>?|</?(?:s|pad|bos|eos|unk|start_of_turn|end_of_turn)>")
_MARKUP = re.compile(r"\*\*|__|`")
_QUESTION = re.compile(r"\?|^(?:question|q)\s*\d*\s*[:.)]", re.IGNORECASE)
_ENUMERATOR = re.compile(r"^(?:[-*•]\s+|\(?\d{1,2}[.)]\s+)")
_ANCHOR = re.compile(
    r"\b(?:answer|ans|option|choice)\b(?: to (?:this|the) question)?"
    r"\s*(?:\b(?:is|would be)\b\s*:?|[:=])\s*",
    re.IGNORECASE,
)
_LETTER = r"(?:the\s+)?(?:(?i:option|choice|answer|letter)\s+)?[(\[]?\b([A-Ja-j])\b"
_LETTER_ONLY = re.compile(rf"^{_LETTER}[.:)\]!]*$")
_LETTER_FIRST = re.compile(rf"^{_LETTER}([.:)\]]*)[\s,–—-]*(\S.*)$")
_LETTER_RIGHT = re.compile(
    rf"^{_LETTER}[)\]]?\s+is\s+(?:the\s+)?(?:correct|right|best)"
    r"(?:\s+(?:answer|option|choice|one))?\s*(?:[.,;!]|\b(?:because|since|as)\b|$)"
)
_LETTER_LAST = re.compile(r"^(.+?)\s*[(\[](?:(?i:option|choice)\s+)?([A-J])[)\]][.!]*$")
_REASON = re.compile(r"(?:because|since|as)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:this|it|the|in|here|explanation)\b(?:\W+\w+){3,}", re.IGNORECASE)
_NOT_THIS = re.compile(r"^(?:not|none|neither|never|isn['’]t|is not)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|incorrect|wrong|false|except|unlikely|other|second|"
    r"alternative|least)\b|n['’]t\b",
    re.IGNORECASE,
)
_BREAK = re.compile(
    r"[.;]\s|\s(?P<verb>is|are|was|which)\s|,?\s(?:because|since|as)\s"
    r"|(?:[,:]|\s[-–—])\s(?=(?:an?|the|it|this|which)\s)"
)
_CLAUSE = re.compile(r"[.;,!]\s")


@dataclass(frozen=True, slots=True)
class Reading:
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


def parse(text: str, options: Sequence[str]) -> Reading:
    """Read a free answer.

    Args:
        text: What the model wrote, without the prompt.
        options: Option texts in the order in which the model saw them.
    """
    if "\n" not in text.strip() and (whole := named_option(text, options)) is not None:
        return Reading(whole, "option text")
    lines = _first_turn(text)
    if not lines:
        return Reading(None, "empty")
    if _lists_options(lines, options):
        return Reading(None, "lists the options")
    # What follows a question answers that question, whichever it is.
    asked = next((i for i, line in enumerate(lines) if _QUESTION.search(line)), len(lines))
    lines = lines[:asked]
    if not lines:
        return Reading(None, "asks a question")
    first = _resolve(_ENUMERATOR.sub("", lines[0]), options)
    readings = set(_anchored(lines, options))
    if not readings:
        return first
    if first.chosen is not None and "then more" not in first.reason:
        readings.add(first)
    if len({reading.chosen for reading in readings}) > 1:
        return Reading(None, "two answers")
    return min(readings, key=lambda reading: reading.reason)


def _first_turn(text: str) -> list[str]:
    """Return the lines of the first turn that says anything, without markup."""
    for turn in _TURN_END.split(_THOUGHT.sub(" ", text)):
        plain = _MARKUP.sub("", _SPECIAL.sub(" ", turn))
        if lines := [line.strip() for line in plain.split("\n") if line.strip()]:
            return lines
    return []


def _anchored(lines: Sequence[str], options: Sequence[str]) -> Iterator[Reading]:
    """Read what follows each "the answer is", up to the end of its line or in the next one."""
    for number, line in enumerate(lines):
        for anchor in _ANCHOR.finditer(line):
            following = lines[number + 1 : number + 2]
            rest = line[anchor.end() :].strip(" *_") or _ENUMERATOR.sub("", "".join(following))
            if _NEGATION.search(_CLAUSE.split(line[: anchor.start()])[-1]):
                yield Reading(None, "negated")
            elif rest:
                yield _resolve(rest, options)


def _resolve(payload: str, options: Sequence[str]) -> Reading:
    """Tell which option a line gives."""
    payload = payload.strip(' \t*_"“”')
    if (whole := named_option(payload, options)) is not None:
        return Reading(whole, "option text")
    if _NOT_THIS.match(payload):
        return Reading(None, "negated")
    if alone := _LETTER_ONLY.match(payload):
        return _letter(alone[1], options, "letter")
    mentioned = mentioned_options(payload, options)
    if len(mentioned) == len(options):
        return Reading(None, "names several options")
    if last := _LETTER_LAST.match(payload):
        by_text = _opening(last[1], options)
        if by_text is not None:
            return _agreed(_letter(last[2], options, "letter and text"), by_text)
    if (opening := _opening(payload, options)) is not None:
        return Reading(opening, "option text, then more")
    if (right := _LETTER_RIGHT.match(payload)) and not mentioned:
        return _letter(right[1], options, "letter, then more")
    if led := _LETTER_FIRST.match(payload):
        return _lettered(led, options)
    return Reading(None, "names several options" if len(mentioned) > 1 else "names no option")


def _lettered(led: re.Match[str], options: Sequence[str]) -> Reading:
    """Read a letter with what follows it: its option's text, or a reason."""
    letter, mark, rest = led[1], led[2], led[3]
    by_letter = _letter(letter, options, "letter and text")
    by_text = _opening(rest, options)
    if by_text is not None:
        return _agreed(by_letter, by_text)
    mentioned = mentioned_options(rest, options)
    if mentioned == {by_letter.chosen} and mark and not _NEGATION.search(rest):
        return by_letter
    if not mentioned and (_REASON.match(rest) or (mark and _SENTENCE.match(rest))):
        return _letter(letter, options, "letter, then more")
    # "C. difficile", "A. or B.", "B) 100 mg" where B is 10 mg
    return Reading(None, "letter contradicts text" if mark else "names no option")


def _agreed(by_letter: Reading, by_text: int) -> Reading:
    return by_letter if by_letter.chosen == by_text else Reading(None, "letter contradicts text")


def _opening(text: str, options: Sequence[str]) -> int | None:
    """Tell which option a sentence opens with, where no other option follows."""
    if (whole := named_option(text, options)) is not None:
        return whole
    for end in _BREAK.finditer(text):
        chosen = named_option(text[: end.start()], options)
        if chosen is None:
            continue
        said = _CLAUSE.split(text[end.end() :])[0]
        denied = end["verb"] is not None and _NEGATION.search(said) is not None
        others = mentioned_options(text, options) - {chosen}
        return None if denied or others else chosen
    return None


def _letter(letter: str, options: Sequence[str], rule: str) -> Reading:
    index = LETTERS.index(letter.upper())
    return Reading(index, rule) if index < len(options) else Reading(None, "no such letter")


def _lists_options(lines: Sequence[str], options: Sequence[str]) -> bool:
    """Tell whether two or more lines each give an option: a list, not an answer."""
    given = {_line_option(line, options) for line in lines} - {None}
    return len(given) > 1


def _line_option(line: str, options: Sequence[str]) -> int | None:
    bare = _ENUMERATOR.sub("", line)
    led = _LETTER_FIRST.match(bare)
    for form in (line, bare, led[3] if led else ""):
        if (index := named_option(form, options)) is not None:
            return index
    alone = _LETTER_ONLY.match(bare)
    return _letter(alone[1], options, "letter").chosen if alone else None
