"""Canonical form of questions for comparison, without irrelevant differences."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from medtune.core.negation import is_negated
from medtune.core.records import Question
from medtune.data.cleaning.exam_tags import strip_exam_tags

# Keep signs: "<7" and ">7" are different options.
_NON_WORD = re.compile(r"(?:[^\w<>=≤≥+%]|_)+")
_NUMBER_PUNCTUATION = re.compile(r"\d\s*[.,]\s*\d|[-−–]\d")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MINUS = re.compile(r"(?<![\w)\]])(?<!\d )[-−–](?=\d)")  # not in "10-12" and "10 -12"
_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_SPELLING = (
    (re.compile(r"(?<=\w)ae|^ae|oe"), "e"),  # anaemia, aetiology, oedema
    (re.compile(r"our(?=s?$|ed$|ing$)"), "or"),  # tumour, colour
    (re.compile(r"is(?=ation|ed$|ing$|e$)"), "iz"),  # immunisation
    (re.compile(r"(?<=[bctv])re$"), "er"),  # fibre, litre, manoeuvre
)


@dataclass(frozen=True, slots=True)
class CanonicalQuestion:
    """A question without case, punctuation, exam tags and order of options."""

    stem: str
    options: tuple[str, ...]
    """Sorted."""
    answer: str | None
    """Canonical text of the right option; None where the label is not released."""
    negated: bool

    @property
    def full_text(self) -> str:
        """Stem and options, one per line."""
        return "\n".join((self.stem, *self.options))


def canonicalize_question(question: Question) -> CanonicalQuestion:
    """Return the canonical form of a question."""
    options = [canonicalize_text(option) for option in question.options]
    stem = canonicalize_text(strip_exam_tags(question.stem))
    answer = None if question.answer is None else options[question.answer]
    return CanonicalQuestion(stem, tuple(sorted(options)), answer, is_negated(stem))


def canonicalize_text(text: str) -> str:
    """Return the canonical form of a text: no case, accents, punctuation; "two" becomes 2."""
    plain = text.casefold()
    if not plain.isascii():
        # Decomposition may restore capitals: "℃" becomes "°C".
        plain = unicodedata.normalize("NFKD", plain.replace("’", "'")).casefold()
        plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = plain.replace("n't", " not")
    if _NUMBER_PUNCTUATION.search(plain):  # 1.5 is not 1-5, -2 is not 2, and 1,000 is one number
        plain = _MINUS.sub(" minus ", _POINT.sub("point", _THOUSANDS.sub("", plain)))
    words = _number_words_to_digits(_NON_WORD.sub(" ", plain).split())
    # An option may consist of signs only.
    return " ".join(map(_unify_spelling, words)) or " ".join(plain.split())


def word_difference(a: str, b: str) -> tuple[list[str], list[str]]:
    """Return the words that occur only in the first and only in the second text."""
    left, right = Counter(a.split()), Counter(b.split())
    return list((left - right).elements()), list((right - left).elements())


def _number_words_to_digits(words: list[str]) -> list[str]:
    """Replace number words up to twelve by digits, except the pronoun: "which one of these"."""
    if _NUMBERS.keys().isdisjoint(words):
        return words
    return [
        word if word == "one" and (before == "which" or after == "of") else _NUMBERS.get(word, word)
        for before, word, after in zip(["", *words[:-1]], words, [*words[1:], ""], strict=True)
    ]


def _unify_spelling(word: str) -> str:
    """Unify British and American spelling of a long word; the result need not be a real word."""
    if len(word) < 5 or not word.isalpha():
        return word
    # MedMCQA lost most of its "rt": "aery" is an artery, "impoant" is important.
    word = word.replace("rt", "")
    if len(word) < 5:
        return word
    for pattern, other in _SPELLING:
        word = pattern.sub(other, word)
    return word
