"""The strict parser: which option does a free answer give?

What is ambiguous is unparsed, never correct: echoes of the question, dumps of the options, two
answers, negated answers, a letter that contradicts its text, new questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medtune.answers.line import (
    COMPLETE,
    CONTRADICTED,
    ENUMERATOR,
    NOTHING,
    Reading,
    letter_and_option,
    line_option,
    read,
    read_first,
    whole_line,
)
from medtune.answers.match import named_option
from medtune.answers.sentence import CLAUSE, denies
from medtune.core.reading import Parser

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_TURN_END = re.compile(r"<\|(?:im_end|eot_id|endoftext|end_of_text|end)\|>|</s>|<end_of_turn>")
_SPECIAL = re.compile(r"<\|[^|<>]*\|?>?|</?(?:s|pad|bos|eos|unk|start_of_turn|end_of_turn)>")
_MARKUP = re.compile(r"\*\*|__|`")
_BOXED = re.compile(r"\\(?:boxed|text(?:bf)?)\{([^{}]*)\}")
_QUESTION = re.compile(r"\?|^(?:question|q)\s*\d*\s*[:.)]", re.IGNORECASE)
_ANCHOR = re.compile(
    r"\b(?<!each )(?<!every )(?:answer|ans|option|choice)\b(?: to (?:this|the) question)?"
    r"\s*(?:\b(?:is|would be)\b\s*:?|[:=])\s*"
    # "The most likely diagnosis for a man of 40 is: B. Gout"
    r"|\b(?:is|was|be)(?:\s+(?:most\s+)?(?:likely|probably))?\s*:\s*",
    re.IGNORECASE,
)
_REVIEW = re.compile(r"\b(?:options?|choices|each|following|analy[sz]\w+|steps?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A place that announces the answer: "The answer is"."""

    line: int
    """Number of its line."""
    start: int
    end: int
    below: int | None
    """Number of the line below, where the answer stands there and begins no list."""


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
    # What follows a question answers that question, whichever it is.
    asked = next((i for i, line in enumerate(lines) if _QUESTION.search(line)), len(lines))
    given = [line_option(line, options) for line in lines]
    anchors = _anchors(lines, given, options)
    below = {anchor.below for anchor in anchors}
    listed = len({one for n, one in enumerate(given) if n not in below} - {None}) > 1
    announced = set(_anchored(lines[:asked], anchors, options))
    if listed and not any(reading.chosen is not None for reading in announced):
        return Reading(None, "lists the options")
    if not asked:
        return Reading(None, "asks a question")
    first = read_first(lines[0], options)
    if not announced:
        alone = _alone(lines[:asked], given, options) if first.reason == NOTHING else None
        return first if alone is None else Reading(alone, "letter and text")
    if not listed and (first.reason in CONTRADICTED or first.reason in COMPLETE):
        announced.add(first)
    if len({reading.chosen for reading in announced}) > 1:
        return Reading(None, "two answers")
    return min(announced, key=lambda reading: reading.reason)


STRICT = Parser(version=3, read=parse)
"""For examinations; the version grows with every change of what is read."""


def _first_turn(text: str) -> list[str]:
    """Return the lines of the first turn that says anything, without markup."""
    for turn in _TURN_END.split(_THOUGHT.sub(" ", text)):
        plain = _MARKUP.sub("", _SPECIAL.sub(" ", turn))
        plain = _BOXED.sub(r"\1", _BOXED.sub(r"\1", plain))
        if lines := [line.strip() for line in plain.split("\n") if line.strip()]:
            return lines
    return []


def _anchors(
    lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]
) -> list[_Anchor]:
    """Find what announces an answer."""
    found = []
    for number, line in enumerate(lines):
        if whole_line(line, options) is not None:
            continue  # an option that reads "No answer is right" announces nothing
        next_two = given[number + 1 : number + 3]
        a_list = len(next_two) == 2 and None not in next_two and next_two[0] != next_two[1]
        for match in _ANCHOR.finditer(line):
            on_next = not _rest(line, match.end()) and not a_list
            below = number + 1 if on_next else None
            found.append(_Anchor(number, match.start(), match.end(), below))
    return found


def _anchored(
    lines: Sequence[str], anchors: Sequence[_Anchor], options: Sequence[str]
) -> Iterator[Reading]:
    """Read what follows each anchor, up to the end of its line or in the next one."""
    for anchor in anchors:
        if anchor.line >= len(lines):
            return
        line = lines[anchor.line]
        rest = _rest(line, anchor.end)
        if anchor.below is not None:
            rest = ENUMERATOR.sub("", "".join(lines[anchor.below : anchor.below + 1]))
        if denies(CLAUSE.split(line[: anchor.start])[-1], options):
            yield Reading(None, "negated")
        elif rest:
            yield read(rest, options)


def _rest(line: str, start: int) -> str:
    return line[start:].strip(" *_")


def _alone(lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]) -> int | None:
    """Tell which option stands with its letter on a line, if no other line gives any.

    After "Let us look at each option:" it is the beginning of a list.
    """
    numbers = [n for n, one in enumerate(given) if one is not None]
    if len(numbers) != 1 or not 0 < numbers[0] < len(lines):
        return None
    number = numbers[0]
    return None if _REVIEW.search(lines[number - 1]) else letter_and_option(lines[number], options)
