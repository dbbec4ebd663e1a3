"""The strict parser: which option does a free answer give?

What is ambiguous is unparsed, never correct: echoes of the question, dumps of the options, two
answers, negated answers, a letter that contradicts its text, new questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from medtune.core.answer_parser import Parser
from medtune.evaluation.parsing.line import (
    COMPLETE,
    CONTRADICTED,
    ENUMERATOR,
    LONGEST,
    NOTHING,
    LineReading,
    letter_and_option,
    line_option,
    read,
    read_first,
    whole_line,
)
from medtune.evaluation.parsing.markup import ANNOUNCED, first_turn
from medtune.evaluation.parsing.option_match import named_option
from medtune.evaluation.parsing.sentence import CLAUSE, denies

_QUESTION = re.compile(r"\?|^(?:question|q)\s*\d*\s*[:.)]", re.IGNORECASE)
_ANCHOR = re.compile(
    r"\b(?<!each )(?<!every )(?:answer|ans|option|choice)\b(?: (?:letter|option|choice|text)\b)?"
    r"(?: to (?:this|the) question)?"
    r"\s*(?:\b(?:is|would be)\b\s*:?|:|=>?|->|→)\s*"
    # a heading of its own
    r"|^#*\s*(?:the |my )?(?:final |correct |best |right )?answer\s*$"
    r"|\b(?:ans\.|(?:answer|ans)(?:\s-\s|\s?[–—]))\s*"
    r"|\bI(?:['’](?:d|ll)| would| will)? (?:choose|select|pick|go with)\b(?: is)?:?\s*"
    rf"|{ANNOUNCED}\s*"
    # "Therefore, option D is correct"
    r"|\b(?:therefore|thus|hence|so),?\s+(?=(?:the )?(?:option|choice|answer|letter) [(\[]?[A-J]\b"
    r"[^.]{0,80}? is (?:the )?(?:correct|right|best)\b)"
    # "The most likely diagnosis for a man of 40 is: B. Gout"
    r"|(?P<plain>\b(?:is|was|be)(?:\s+(?:most\s+)?(?:likely|probably))?\s*:\s*)",
    re.IGNORECASE,
)
_HYPOTHESIS = re.compile(
    r"\b(?:if|unless|otherwise|suppos(?:e|ing)|assume|imagine|pretend|whether|in case|as long as|"
    r"provided (?:that|there))\b"
    # "Had it been chronic, the answer would be C"
    r"|^\W*(?:had|were|should) (?:i|it|s?he|they|we|you|there|th(?:e|is|at|[eo]se)|an?|his|her)\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:(?<!no )(?<!a )(?<!without )doubt|doubtful|mistaken?|"
    r"(?:hard|difficult|impossible|unable|tempting) to|myth|rumou?r|was told)\b",
    re.IGNORECASE,
)
# "Many would say that the answer is A": whoever says so is not the one who answers.
_REPORTED = re.compile(
    r"(?<!to )\b(?:says?|said|thinks?|thought|claim(?:s|ed)?|believe[sd]?|argue[sd]?)"
    r"(?: that)?(?: the)?(?: (?:correct|right|best))?\s*$",
    re.IGNORECASE,
)
_ONESELF = re.compile(r"\b(?:I|[Ww]e|[Ll]et)\b")
_SENTENCES = re.compile(r"[.!?]\s")
_REVIEW = re.compile(r"\b(?:options?|choices|each|following|analy[sz]\w+|steps?)\b", re.IGNORECASE)


_MOST_ANCHORS = 100
"""A text that announces its answer more often is caught in a loop."""


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A place that announces the answer: "The answer is"."""

    line: int
    """Number of its line."""
    before: str
    """The end of the line before it."""
    said: str
    """The beginning of what follows in its line."""
    below: int | None
    """Number of the line below, where the answer stands there and begins no list."""


def parse(text: str, options: Sequence[str]) -> LineReading:
    """Read a free answer.

    Args:
        text: What the model wrote, without the prompt.
        options: Option texts in the order in which the model saw them.
    """
    if "\n" not in text.strip() and (whole := named_option(text, options)) is not None:
        return LineReading(whole, "option text")
    marked = first_turn(text)
    if not marked:
        return LineReading(None, "empty")
    lines = [line.replace(ANNOUNCED, "") for line in marked]
    # What follows a question answers that question, whichever it is.
    asked = next((i for i, line in enumerate(lines) if _QUESTION.search(line)), len(lines))
    listing = {line: line_option(line, options) for line in set(lines)}
    given = [listing[line] for line in lines]
    anchors = list(islice(_anchors(marked, given, options), _MOST_ANCHORS + 1))
    if len(anchors) > _MOST_ANCHORS:
        return LineReading(None, "announces answers without end")
    below = {anchor.below for anchor in anchors}
    listed = len({one for n, one in enumerate(given) if n not in below} - {None}) > 1
    announced = set(_anchored(lines[:asked], anchors, options))
    if listed and not any(reading.chosen is not None for reading in announced):
        return LineReading(None, "lists the options")
    if not asked:
        return LineReading(None, "asks a question")
    first = read_first(lines[0], options)
    if not announced:
        alone = _alone(lines[:asked], given, options) if first.reason == NOTHING else None
        return first if alone is None else LineReading(alone, "letter and text")
    if not listed and (first.reason in CONTRADICTED or first.reason in COMPLETE):
        announced.add(first)
    if len({reading.chosen for reading in announced}) > 1:
        return LineReading(None, "two answers")
    return min(announced, key=lambda reading: reading.reason)


STRICT = Parser(version=5, read=parse)
"""For examinations; the version grows with every change of what is read."""


def _anchors(
    lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]
) -> Iterator[_Anchor]:
    """Find what announces an answer; "If she were pregnant, the answer would be" does not."""
    for number, line in enumerate(lines):
        next_two = given[number + 1 : number + 3]
        a_list = len(next_two) == 2 and None not in next_two and next_two[0] != next_two[1]
        a_list = a_list and ANNOUNCED not in lines[number + 2]
        matches = list(_ANCHOR.finditer(line))
        if matches and whole_line(line.replace(ANNOUNCED, ""), options) is not None:
            continue  # an option that reads "No answer is right" announces nothing
        for match in matches:
            before = line[max(0, match.start() - LONGEST) : match.start()]
            if not match["plain"] and _left_open(_SENTENCES.split(before)[-1]):
                continue
            said = line[match.end() : match.end() + LONGEST].replace(ANNOUNCED, "").strip(" *_")
            below = number + 1 if not said and not a_list else None
            yield _Anchor(number, before, said, below)


def _left_open(before: str) -> bool:
    """Tell whether a sentence leads up to an answer that its writer does not give."""
    clause = CLAUSE.split(before)[-1]
    if _HYPOTHESIS.search(before) or _DOUBT.search(clause):
        return True
    return _REPORTED.search(clause) is not None and not _ONESELF.search(clause)


def _anchored(
    lines: Sequence[str], anchors: Sequence[_Anchor], options: Sequence[str]
) -> Iterator[LineReading]:
    """Read what follows each anchor, up to the end of its line or in the next one."""
    for anchor in anchors:
        if anchor.line >= len(lines):
            return
        said = anchor.said
        if anchor.below is not None:
            said = ENUMERATOR.sub("", "".join(lines[anchor.below : anchor.below + 1]))
        if denies(CLAUSE.split(anchor.before)[-1], options):
            yield LineReading(None, "negated")
        elif said:
            yield read(said, options)


def _alone(lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]) -> int | None:
    """Tell which option stands with its letter on a line, if no other line gives any.

    After "Let us look at each option:" it is the beginning of a list.
    """
    numbers = [n for n, one in enumerate(given) if one is not None]
    if len(numbers) != 1 or not 0 < numbers[0] < len(lines):
        return None
    number = numbers[0]
    return None if _REVIEW.search(lines[number - 1]) else letter_and_option(lines[number], options)
