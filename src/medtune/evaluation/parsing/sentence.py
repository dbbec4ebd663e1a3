"""Tell which option a sentence gives: where it opens with one, or where it leads up to one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medtune.core.records import LETTERS
from medtune.evaluation.parsing.option_match import (
    fold,
    longest_name,
    mentioned_options,
    named_option,
    spellings,
)

NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|incorrect|wrong|false|except|unlikely|other|second|"
    r"alternative|least)\b|n['’]t\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[.;,!]\s")
# "The finding that would NOT be expected is" and "all of these EXCEPT" repeat the question:
# exams write it in capitals.
_REPEATED = re.compile(
    r"\b(?:that|which)\s+(?:\w+\s+){0,2}(?:NOT|LEAST)\b"
    r"(?!\s+(?:an?\s+|the\s+)?(?:correct|right|true|best|answer)\b)|\bEXCEPT\b"
)
_SENTENCE_END = re.compile(r"(?<![(\[][A-J][)\]])(?<!\b[A-Z])[.;!]\s+(?=[\"“(\[]?[A-Z])")
_BREAK = re.compile(
    r"[.;]\s|\s(?P<verb>is|are|was|which)\s|,?\s(?:because|since|as)\s"
    r"|(?:[,:]|\s[-–—])\s(?=(?:an?|the|it|this|which)\s)"
)
# "X is the cause" answers; "X is a virus that ..." only describes, and may go on to rule X out.
_ANSWERS = re.compile(r"(?:(?:most\s+)?(?:likely|probably)\s+)?(?:the|correct|right|best)\b")
_VERDICT = re.compile(r"(?:the\s+)?(?:correct|right|best|most)\b")
_STOP = re.compile(
    r"[.!]?\s*$|[.;,!]\s|\s[-–—]\s|\s(?=\()|\s(?:which|because|since)\s"
    r"|\sand\s(?=(?:is|was|has|it)\s)"
)
_LEADS_UP = re.compile(
    r"(?:^|\s)(?:is|are|was|were|be|called|named|termed|known as|named after|by|in|with|shows|"
    r"indicates|suggests|underlies|except|except for|likely|probably|typically|usually|mainly|"
    r"chiefly)"
    r"(?: [a-j])?(?: an?)?$"
)
_MARKED_LETTER = re.compile(r"[(\[]([A-J])[)\]]|\b([A-J])[.:)]")
_ASIDE = re.compile(
    r"\b(?:if|whether|than|unlike|without|versus|instead|rather|such as|"
    r"including|e\.g|for example|exclud\w+|avoid\w*|contraindicated|rul\w+ out|options|choices)\b",
    re.IGNORECASE,
)


def denies(text: str, options: Sequence[str]) -> bool:
    """Tell whether a text says no, other than in an option's name or in the question's words."""
    said = _REPEATED.sub(" ", text)
    for option in options:
        said = re.sub(re.escape(option), " ", said, flags=re.IGNORECASE)
    return NEGATION.search(said) is not None


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence; "C. Iron" and "E. coli" end none."""
    return _SENTENCE_END.split(text, maxsplit=1)[0]


def opened_with(text: str, options: Sequence[str], *, announced: bool = True) -> int | None:
    """Tell which option a text opens with, where no other option follows.

    Args:
        text: A line, without its letter.
        options: Option texts.
        announced: Whether a letter or "The answer is" came before; if none did, a sentence
            that only describes its subject is no answer.
    """
    if (whole := named_option(text, options)) is not None:
        return whole
    for end in _BREAK.finditer(text, 0, longest_name(options)):
        chosen = named_option(text[: end.start()], options)
        if chosen is None:
            continue
        said = CLAUSE.split(text[end.end() :])[0]
        if end["verb"] is not None and denies(said, options):
            return None
        if announced or end["verb"] is None:
            return None if mentioned_options(text, options) - {chosen} else chosen
        return chosen if _answers(said) and _only_answer(text, chosen, said, options) else None
    return None


def led_up_to(line: str, options: Sequence[str]) -> int | None:
    """Tell which option the first sentence that names any leads up to.

    "The nerve that runs there is the radial nerve." does, if the line names no other option.
    """
    mentioned = mentioned_options(line, options)
    if len(mentioned) != 1:
        return None
    (index,) = mentioned
    sentences = _SENTENCE_END.split(line)
    sentence = next((s for s in sentences if mentioned_options(s, options)), "")
    beside = _without(sentence, options[index])
    letters = {found[1] or found[2] for found in _MARKED_LETTER.finditer(beside)}
    agrees = letters == {LETTERS[index]}
    if denies(sentence, options) or (not agrees and (letters or _ASIDE.search(beside))):
        return None
    longest = longest_name(options)
    for stop in _STOP.finditer(sentence):
        said = fold(sentence[max(0, stop.start() - longest) : stop.start()])
        for name in spellings(options[index]):
            before = said.removesuffix(f" {name}")
            if before != said and _LEADS_UP.search(before):
                return index
    return None


def _answers(said: str) -> bool:
    return _ANSWERS.match(said) is not None and _ASIDE.search(said) is None


def _only_answer(text: str, chosen: int, said: str, options: Sequence[str]) -> bool:
    """Tell whether no other option is named, or only after a verdict, and not with another."""
    if not _VERDICT.match(said):
        return mentioned_options(text, options) <= {chosen}
    first, *later = _SENTENCE_END.split(text)
    answers = {opened_with(sentence, options, announced=False) for sentence in later}
    return mentioned_options(first, options) <= {chosen} and answers <= {chosen, None}


def _without(text: str, option: str) -> str:
    return re.sub(re.escape(option), " ", text, flags=re.IGNORECASE)
