"""Whether two folded stems ask for the same thing in other words: by the words they share.

For questions with the same options and the same right answer only: there, sharing most of the
words with content means more than it does elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

LEAST = 2
"""Words with content that both stems must have; one more where each says something else too."""
CONTAINED = 0.6
"""Least share of the shorter stem's content words that the other one must have."""
DICE = 0.45
"""Least Dice coefficient of the content words.  All three were chosen on labelled pairs."""
LITTLE = frozenset(
    (
        "a an the is are was were be been of in on at to for by with from and or which what who "
        "that this these those following one all it its as has have had does do did can will "
        "would should may best most likely true seen known called feature features s"
    ).split()
) - {"most", "best", "true", "with"}
_WITHOUT_CONTENT = LITTLE | frozenset(
    (
        "most best true with common commonly commonest except not false correct incorrect "
        "statement statements about regarding given used use patient patients case old year "
        "years age man woman male female boy girl child if any how many much when where why "
        "during after include includes included also there their they he she his her him into "
        "than then such only other more "
        # what is asked for: "drug of choice for A" and "drug of choice for B" share nothing
        "drug drugs choice agent agents treatment management cause causes caused causing due "
        "associated diagnosis found"
    ).split()
)
_ABBREVIATION = re.compile(r"(?![ivx]+$)[a-z]{2,6}")
_LEAST_BEGINNING = 4


def shares_content(a: str, b: str, options: Iterable[str] = ()) -> bool:
    """Tell whether two folded stems share enough of their words with content.

    A word counts as shared where the other stem has it, an inflection of it or, for an
    abbreviation, the words whose initials it is made of.  Words that stand in the options do not
    count: where all of them are nerves, both stems ask for a nerve.
    """
    given = {word for option in options for word in option.split()}
    left, right, shared = _compared(spelled_out(a, b), spelled_out(b, a), given)
    both_say_more = shared < min(left, right)
    return (
        shared >= LEAST + both_say_more
        and shared >= CONTAINED * min(left, right)
        and 2 * shared >= DICE * (left + right)
    )


def differ_in_all_content(a: str, b: str) -> bool:
    """Tell whether two folded stems both say something and share no word with content.

    "Drug of choice for A" and "drug of choice for B" do.
    """
    left, right, shared = _compared(a, b)
    return shared == 0 < min(left, right)


def _compared(a: str, b: str, given: Collection[str] = ()) -> tuple[int, int, int]:
    """Count the words with content of two stems, but for those given, and how many they share."""
    left, right = ([word for word in _content(stem) if word not in given] for stem in (a, b))
    free = list(right)
    for word in left:
        if (other := next((x for x in free if _inflected(word, x)), None)) is not None:
            free.remove(other)
    return len(left), len(right), len(right) - len(free)


def spelled_out(stem: str, other: str) -> str:
    """Replace abbreviations in a stem by the words of another one that they abbreviate.

    "Doc in mrsa" becomes "drug of choice in methicillin resistant staphylococcus aureus": an
    abbreviation is a word that the other stem lacks and whose letters begin as many of its words,
    one after the other; of three letters and more, also with little words among them.
    """
    words = other.split()
    content = [word for word in words if word not in LITTLE]
    return " ".join(_meant(word, words, content) for word in stem.split())


def _meant(word: str, words: Sequence[str], content: Sequence[str]) -> str:
    if not _ABBREVIATION.fullmatch(word) or word in words or word in _WITHOUT_CONTENT:
        return word
    for run in (words, content) if len(word) > 2 else (content,):
        at = "".join(w[0] for w in run).find(word)
        if at >= 0:
            return " ".join(run[at : at + len(word)])
    return word


def _content(stem: str) -> list[str]:
    """List different words that say something; single letters are taken for list marks."""
    words = dict.fromkeys(stem.split())
    return [w for w in words if w not in _WITHOUT_CONTENT and (len(w) > 1 or w.isdigit())]


def _inflected(a: str, b: str) -> bool:
    """Tell whether two words begin alike: "treat" and "treatment", not "male" and "malaria"."""
    if a == b:
        return True
    alike = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    length = min(len(a), len(b)) if alike is None else alike
    shorter, longer = sorted((len(a), len(b)))
    return length >= _LEAST_BEGINNING and length >= 0.75 * shorter and length >= 0.5 * longer
