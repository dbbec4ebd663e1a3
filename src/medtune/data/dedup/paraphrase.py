"""Detect paraphrased stems by the content words that they share.

Only for questions with the same options and the same right answer, where sharing most content
words is strong evidence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

MIN_CONTENT_WORDS = 2
"""Least number of shared content words; one more if both stems have further content words."""
MIN_CONTAINMENT = 0.6
"""Least share of the shorter stem's content words that the other stem must contain."""
MIN_DICE = 0.45
"""Least Dice coefficient of the content words.  All three were tuned on labelled pairs."""
FUNCTION_WORDS = frozenset(
    (
        "a an the is are was were be been of in on at to for by with from and or which what who "
        "that this these those following one all it its as has have had does do did can will "
        "would should may best most likely true seen known called feature features s"
    ).split()
) - {"most", "best", "true", "with"}
_NON_CONTENT_WORDS = FUNCTION_WORDS | frozenset(
    (
        "most best true with common commonly commonest except not false correct incorrect "
        "statement statements about regarding given used use patient patients case old year "
        "years age man woman male female boy girl child if any how many much when where why "
        "during after include includes included also there their they he she his her him into "
        "than then such only other more "
        # what is asked for: "drug of choice for A" and "drug of choice for B" share no content
        "drug drugs choice agent agents treatment management cause causes caused causing due "
        "associated diagnosis found"
    ).split()
)
_ABBREVIATION = re.compile(r"(?![ivx]+$)[a-z]{2,6}")
_MIN_COMMON_PREFIX = 4


def share_content_words(a: str, b: str, options: Iterable[str] = ()) -> bool:
    """Return whether two canonical stems share enough content words.

    A word is shared if the other stem contains it, an inflection of it or, for an abbreviation,
    the words that it abbreviates.  Words of the options do not count: if all options are nerves,
    both stems ask for a nerve.
    """
    given = {word for option in options for word in option.split()}
    left, right, shared = _count_shared_words(
        expand_abbreviations(a, b), expand_abbreviations(b, a), given
    )
    both_say_more = shared < min(left, right)
    return (
        shared >= MIN_CONTENT_WORDS + both_say_more
        and shared >= MIN_CONTAINMENT * min(left, right)
        and 2 * shared >= MIN_DICE * (left + right)
    )


def have_disjoint_content(a: str, b: str) -> bool:
    """Return whether two canonical stems both have content words and share none.

    "Drug of choice for A" and "drug of choice for B" do.
    """
    left, right, shared = _count_shared_words(a, b)
    return shared == 0 < min(left, right)


def _count_shared_words(a: str, b: str, given: Collection[str] = ()) -> tuple[int, int, int]:
    """Count the content words of two stems, without the given ones, and the shared ones."""
    left, right = ([word for word in _content_words(stem) if word not in given] for stem in (a, b))
    free = list(right)
    for word in left:
        if (other := next((x for x in free if _have_common_stem(word, x)), None)) is not None:
            free.remove(other)
    return len(left), len(right), len(right) - len(free)


def expand_abbreviations(stem: str, other: str) -> str:
    """Expand abbreviations in a stem to the words of another stem that they abbreviate.

    "Doc in mrsa" becomes "drug of choice in methicillin resistant staphylococcus aureus": an
    abbreviation is a word that the other stem lacks and whose letters are the initials of
    consecutive words in it; with three or more letters, function words may be among them.
    """
    words = other.split()
    content = [word for word in words if word not in FUNCTION_WORDS]
    return " ".join(_expand_word(word, words, content) for word in stem.split())


def _expand_word(word: str, words: Sequence[str], content: Sequence[str]) -> str:
    if not _ABBREVIATION.fullmatch(word) or word in words or word in _NON_CONTENT_WORDS:
        return word
    for run in (words, content) if len(word) > 2 else (content,):
        at = "".join(w[0] for w in run).find(word)
        if at >= 0:
            return " ".join(run[at : at + len(word)])
    return word


def _content_words(stem: str) -> list[str]:
    """Return the distinct content words; single letters are treated as list marks."""
    words = dict.fromkeys(stem.split())
    return [w for w in words if w not in _NON_CONTENT_WORDS and (len(w) > 1 or w.isdigit())]


def _have_common_stem(a: str, b: str) -> bool:
    """Return whether two words have a common stem: "treat", "treatment"; not "male", "malaria"."""
    if a == b:
        return True
    alike = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    length = min(len(a), len(b)) if alike is None else alike
    shorter, longer = sorted((len(a), len(b)))
    return length >= _MIN_COMMON_PREFIX and length >= 0.75 * shorter and length >= 0.5 * longer
