"""Questions folded for comparison: what does not make another question is taken away."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from medtune.core.negation import asks_exception
from medtune.core.records import Question
from medtune.data.cleaning.exam_tags import without_tags

# Signs stay: "<7" and ">7" are two options.
_OTHER = re.compile(r"(?:[^\w<>=≤≥+%]|_)+")
_FIGURE = re.compile(r"\d\s*[.,]\s*\d|[-−–]\d")
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
    """A question without case, punctuation, exam tags and the order of its options."""

    stem: str
    options: tuple[str, ...]
    """Sorted."""
    answer: str | None
    """The right option; None where the label is not released."""
    negated: bool
    """Whether the stem asks for the exception."""

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join((self.stem, *self.options))


def folded(question: Question) -> CanonicalQuestion:
    """Fold a question."""
    options = [fold(option) for option in question.options]
    stem = fold(without_tags(question.stem))
    answer = None if question.answer is None else options[question.answer]
    return CanonicalQuestion(stem, tuple(sorted(options)), answer, asks_exception(stem))


def fold(text: str) -> str:
    """Fold a text: no case, accents, punctuation; anaemia is anemia and "two" is 2."""
    plain = text.casefold()
    if not plain.isascii():
        # Decomposing brings capitals back: "℃" becomes "°C".
        plain = unicodedata.normalize("NFKD", plain.replace("’", "'")).casefold()
        plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = plain.replace("n't", " not")
    if _FIGURE.search(plain):  # 1.5 is not 1-5, -2 is not 2, and 1,000 is one number
        plain = _MINUS.sub(" minus ", _POINT.sub("point", _THOUSANDS.sub("", plain)))
    words = _numbered(_OTHER.sub(" ", plain).split())
    # An option may be nothing but signs.
    return " ".join(map(_spelled, words)) or " ".join(plain.split())


def difference(a: str, b: str) -> tuple[list[str], list[str]]:
    """List the words that only the one and only the other folded text has."""
    left, right = Counter(a.split()), Counter(b.split())
    return list((left - right).elements()), list((right - left).elements())


def _numbered(words: list[str]) -> list[str]:
    """Write numbers up to twelve in digits, but for the pronoun: "which one of these"."""
    if _NUMBERS.keys().isdisjoint(words):
        return words
    return [
        word if word == "one" and (before == "which" or after == "of") else _NUMBERS.get(word, word)
        for before, word, after in zip(["", *words[:-1]], words, [*words[1:], ""], strict=True)
    ]


def _spelled(word: str) -> str:
    """Write a long word one way of the two that English has; what results need be no word."""
    if len(word) < 5 or not word.isalpha():
        return word
    # MedMCQA lost most of its "rt": "aery" is an artery, "impoant" is important.
    word = word.replace("rt", "")
    if len(word) < 5:
        return word
    for pattern, other in _SPELLING:
        word = pattern.sub(other, word)
    return word
