"""Read the option that a sentence gives, at its start or at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medtune.core.records import LETTERS
from medtune.evaluation.parsing.option_match import (
    find_mentioned_options,
    match_option,
    max_name_length,
    normalize_for_matching,
    option_spellings,
)

NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|incorrect|wrong|false|except|unlikely|other|second|"
    r"alternative|least)\b|n['’]t\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[.;,!]\s")
# "The finding that would NOT be expected is" and "all of these EXCEPT" repeat the question, where
# exams use capitals.
_REPEATED_NEGATION = re.compile(
    r"\b(?:that|which)\s+(?:\w+\s+){0,2}(?:NOT|LEAST)\b"
    r"(?!\s+(?:an?\s+|the\s+)?(?:correct|right|true|best|answer)\b)|\bEXCEPT\b"
)
_SENTENCE_END = re.compile(r"(?<![(\[][A-J][)\]])(?<!\b[A-Z])[.;!]\s+(?=[\"“(\[]?[A-Z])")
_CLAUSE_BREAK = re.compile(
    r"[.;]\s|\s(?P<verb>is|are|was|which)\s|,?\s(?:because|since|as)\s"
    r"|(?:[,:]|\s[-–—])\s(?=(?:an?|the|it|this|which)\s)"
)
# "X is the cause" is an answer; "X is a virus that ..." is a description, which may rule X out.
_ANSWER_WORDS = re.compile(r"(?:(?:most\s+)?(?:likely|probably)\s+)?(?:the|correct|right|best)\b")
_VERDICT = re.compile(r"(?:the\s+)?(?:correct|right|best|most)\b")
_ANSWER_END = re.compile(
    r"[.!]?\s*$|[.;,!]\s|\s[-–—]\s|\s(?=\()|\s(?:which|because|since)\s"
    r"|\sand\s(?=(?:is|was|has|it)\s)"
)
_BEFORE_ANSWER = re.compile(
    r"(?:^|\s)(?:is|are|was|were|be|called|named|termed|known as|named after|by|in|with|shows|"
    r"indicates|suggests|underlies|except|except for|likely|probably|typically|usually|mainly|"
    r"chiefly)"
    r"(?: [a-j])?(?: an?)?$"
)
_MARKED_LETTER = re.compile(r"[(\[]([A-J])[)\]]|\b([A-J])[.:)]")
_QUALIFIERS = re.compile(
    r"\b(?:if|whether|than|unlike|without|versus|instead|rather|such as|"
    r"including|e\.g|for example|exclud\w+|avoid\w*|contraindicated|rul\w+ out|options|choices)\b",
    re.IGNORECASE,
)


def contains_negation(text: str, options: Sequence[str]) -> bool:
    """Return whether a text contains a negation, apart from options and the question's words."""
    said = _REPEATED_NEGATION.sub(" ", text)
    for option in options:
        said = re.sub(re.escape(option), " ", said, flags=re.IGNORECASE)
    return NEGATION.search(said) is not None


def first_sentence(text: str) -> str:
    """Return the first sentence of a text; "C. Iron" and "E. coli" do not end it."""
    return _SENTENCE_END.split(text, maxsplit=1)[0]


def option_at_start(text: str, options: Sequence[str], *, announced: bool = True) -> int | None:
    """Return the option with which a text begins, if no other option follows.

    Args:
        text: A line, without its letter.
        options: Option texts.
        announced: Whether a letter or "The answer is" precedes; if not, a sentence that only
            describes its subject is not an answer.
    """
    if (whole := match_option(text, options)) is not None:
        return whole
    for end in _CLAUSE_BREAK.finditer(text, 0, max_name_length(options)):
        chosen = match_option(text[: end.start()], options)
        if chosen is None:
            continue
        said = CLAUSE.split(text[end.end() :])[0]
        if end["verb"] is not None and contains_negation(said, options):
            return None
        if announced or end["verb"] is None:
            return None if find_mentioned_options(text, options) - {chosen} else chosen
        return (
            chosen
            if _is_answer_clause(said) and _is_only_answer(text, chosen, said, options)
            else None
        )
    return None


def option_at_end(line: str, options: Sequence[str]) -> int | None:
    """Return the option that the first sentence with an option gives at its end.

    Example: "The nerve that runs there is the radial nerve.", if the line names no other option.
    """
    mentioned = find_mentioned_options(line, options)
    if len(mentioned) != 1:
        return None
    (index,) = mentioned
    sentences = _SENTENCE_END.split(line)
    sentence = next((s for s in sentences if find_mentioned_options(s, options)), "")
    beside = _remove_option(sentence, options[index])
    letters = {found[1] or found[2] for found in _MARKED_LETTER.finditer(beside)}
    agrees = letters == {LETTERS[index]}
    if contains_negation(sentence, options) or (
        not agrees and (letters or _QUALIFIERS.search(beside))
    ):
        return None
    longest = max_name_length(options)
    for stop in _ANSWER_END.finditer(sentence):
        said = normalize_for_matching(sentence[max(0, stop.start() - longest) : stop.start()])
        for name in option_spellings(options[index]):
            before = said.removesuffix(f" {name}")
            if before != said and _BEFORE_ANSWER.search(before):
                return index
    return None


def _is_answer_clause(said: str) -> bool:
    return _ANSWER_WORDS.match(said) is not None and _QUALIFIERS.search(said) is None


def _is_only_answer(text: str, chosen: int, said: str, options: Sequence[str]) -> bool:
    """Return whether no other option is given as an answer."""
    if not _VERDICT.match(said):
        return find_mentioned_options(text, options) <= {chosen}
    first, *later = _SENTENCE_END.split(text)
    answers = {option_at_start(sentence, options, announced=False) for sentence in later}
    return find_mentioned_options(first, options) <= {chosen} and answers <= {chosen, None}


def _remove_option(text: str, option: str) -> str:
    return re.sub(re.escape(option), " ", text, flags=re.IGNORECASE)
