"""The strict parser of free answers.

An ambiguous answer is unparsed, never correct: echoes of the question, lists of the options, two
answers, negated answers, a letter that contradicts its text, new questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from medtune.core.protocols import Parser
from medtune.evaluation.parsing.line import (
    COMPLETE_ANSWERS,
    CONTRADICTIONS,
    ENUMERATOR,
    MAX_LINE_LENGTH,
    NAMES_NO_OPTION,
    LineReading,
    option_after_letter,
    option_of_list_line,
    option_of_whole_line,
    read_first_line,
    read_line,
)
from medtune.evaluation.parsing.markup import ANSWER_MARK, extract_first_turn
from medtune.evaluation.parsing.option_match import match_option
from medtune.evaluation.parsing.sentence import CLAUSE, contains_negation

_QUESTION = re.compile(r"\?|^(?:question|q)\s*\d*\s*[:.)]", re.IGNORECASE)
_ANCHOR = re.compile(
    r"\b(?<!each )(?<!every )(?:answer|ans|option|choice)\b(?: (?:letter|option|choice|text)\b)?"
    r"(?: to (?:this|the) question)?"
    r"\s*(?:\b(?:is|would be)\b\s*:?|:|=>?|->|→)\s*"
    # a heading of its own
    r"|^#*\s*(?:the |my )?(?:final |correct |best |right )?answer\s*$"
    r"|\b(?:ans\.|(?:answer|ans)(?:\s-\s|\s?[–—]))\s*"
    r"|\bI(?:['’](?:d|ll)| would| will)? (?:choose|select|pick|go with)\b(?: is)?:?\s*"
    rf"|{ANSWER_MARK}\s*"
    # "Therefore, option D is correct"
    r"|\b(?:therefore|thus|hence|so),?\s+(?=(?:the )?(?:option|choice|answer|letter) [(\[]?[A-J]\b"
    r"[^.]{0,80}? is (?:the )?(?:correct|right|best)\b)"
    # "The most likely diagnosis for a man of 40 is: B. Gout"
    r"|(?P<plain>\b(?:is|was|be)(?:\s+(?:most\s+)?(?:likely|probably))?\s*:\s*)",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(
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
_OPTION_REVIEW = re.compile(
    r"\b(?:options?|choices|each|following|analy[sz]\w+|steps?)\b", re.IGNORECASE
)


_MAX_ANCHORS = 100
"""Largest number of announcements; a text with more is a repetition loop."""


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A phrase that announces the answer: "The answer is"."""

    line: int
    """Index of its line."""
    before: str
    """End of the text before it in its line."""
    said: str
    """Beginning of the text after it in its line."""
    below: int | None
    """Index of the next line, if the answer is there and does not begin a list."""


def parse_answer(text: str, options: Sequence[str]) -> LineReading:
    """Parse a free answer.

    Args:
        text: Output of the model, without the prompt.
        options: Option texts in the order of the prompt.
    """
    if "\n" not in text.strip() and (whole := match_option(text, options)) is not None:
        return LineReading(whole, "option text")
    marked = extract_first_turn(text)
    if not marked:
        return LineReading(None, "empty")
    lines = [line.replace(ANSWER_MARK, "") for line in marked]
    # Text after a question answers that question, which may be a new one.
    asked = next((i for i, line in enumerate(lines) if _QUESTION.search(line)), len(lines))
    listing = {line: option_of_list_line(line, options) for line in set(lines)}
    given = [listing[line] for line in lines]
    anchors = list(islice(_find_anchors(marked, given, options), _MAX_ANCHORS + 1))
    if len(anchors) > _MAX_ANCHORS:
        return LineReading(None, "announces answers without end")
    below = {anchor.below for anchor in anchors}
    listed = len({one for n, one in enumerate(given) if n not in below} - {None}) > 1
    announced = set(_read_anchors(lines[:asked], anchors, options))
    if listed and not any(reading.chosen is not None for reading in announced):
        return LineReading(None, "lists the options")
    if not asked:
        return LineReading(None, "asks a question")
    first = read_first_line(lines[0], options)
    if not announced:
        alone = (
            _single_lettered_option(lines[:asked], given, options)
            if first.reason == NAMES_NO_OPTION
            else None
        )
        return first if alone is None else LineReading(alone, "letter and text")
    if not listed and (first.reason in CONTRADICTIONS or first.reason in COMPLETE_ANSWERS):
        announced.add(first)
    if len({reading.chosen for reading in announced}) > 1:
        return LineReading(None, "two answers")
    return min(announced, key=lambda reading: reading.reason)


STRICT_PARSER = Parser(version=5, read=parse_answer)
"""Parser for evaluations; the version is increased with every change of a reading."""


def _find_anchors(
    lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]
) -> Iterator[_Anchor]:
    """Find announcements of an answer; "If she were pregnant, the answer would be" is none."""
    for number, line in enumerate(lines):
        next_two = given[number + 1 : number + 3]
        a_list = len(next_two) == 2 and None not in next_two and next_two[0] != next_two[1]
        a_list = a_list and ANSWER_MARK not in lines[number + 2]
        matches = list(_ANCHOR.finditer(line))
        if matches and option_of_whole_line(line.replace(ANSWER_MARK, ""), options) is not None:
            continue  # an option such as "No answer is right" is not an announcement
        for match in matches:
            before = line[max(0, match.start() - MAX_LINE_LENGTH) : match.start()]
            if not match["plain"] and _left_open(_SENTENCES.split(before)[-1]):
                continue
            said = (
                line[match.end() : match.end() + MAX_LINE_LENGTH]
                .replace(ANSWER_MARK, "")
                .strip(" *_")
            )
            below = number + 1 if not said and not a_list else None
            yield _Anchor(number, before, said, below)


def _left_open(before: str) -> bool:
    """Return whether a sentence leads up to an answer that its writer does not give."""
    clause = CLAUSE.split(before)[-1]
    if _HYPOTHETICAL.search(before) or _DOUBT.search(clause):
        return True
    return _REPORTED.search(clause) is not None and not _ONESELF.search(clause)


def _read_anchors(
    lines: Sequence[str], anchors: Sequence[_Anchor], options: Sequence[str]
) -> Iterator[LineReading]:
    """Read the text after each anchor, in its line or in the next one."""
    for anchor in anchors:
        if anchor.line >= len(lines):
            return
        said = anchor.said
        if anchor.below is not None:
            said = ENUMERATOR.sub("", "".join(lines[anchor.below : anchor.below + 1]))
        if contains_negation(CLAUSE.split(anchor.before)[-1], options):
            yield LineReading(None, "negated")
        elif said:
            yield read_line(said, options)


def _single_lettered_option(
    lines: Sequence[str], given: Sequence[int | None], options: Sequence[str]
) -> int | None:
    """Return the option on a line with its letter, if no other line gives an option.

    After "Let us look at each option:" such a line is the beginning of a list.
    """
    numbers = [n for n, one in enumerate(given) if one is not None]
    if len(numbers) != 1 or not 0 < numbers[0] < len(lines):
        return None
    number = numbers[0]
    return (
        None
        if _OPTION_REVIEW.search(lines[number - 1])
        else option_after_letter(lines[number], options)
    )
