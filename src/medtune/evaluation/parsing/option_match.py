"""Match short texts with options."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rapidfuzz.distance import OSA

_BRACKETED = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
_WORD = re.compile(r"[^\W_]+")
_ARTICLE = re.compile(r"\b(?:an|the)\s+(?=\w)")
# "a" is an article only at the start: in "Vitamin A" and "Hepatitis A" it is part of the name.
_LEADING_A = re.compile(r"^\W*a\s+(?=\w\w)", re.IGNORECASE)
_MINUS = re.compile(r"(?<![^\s(\[])[-−‐–](?=\.?\d)")
_POINT = re.compile(r"\.(?=\d)")
_APOSTROPHE = re.compile(r"['’`]")
# Signs that carry meaning where punctuation does not: "< 5 cm" is not "> 5 cm".
# fmt: off
_SIGNS = {
    "μg": " mcg", "μm": " um",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "σ": "sigma", "ω": "omega",
    "&": "and", "%": "percent", "±": "plus minus", "+": "plus", "<": "less than",
    ">": "more than", "≤": "at most", "≥": "at least", "↑": "increased", "↓": "decreased",
}
# fmt: on
# British and American spellings of one word; in longer words only (TOE is not TE).
_SPELLINGS = (
    (re.compile(r"(?<=\w)[ao]e|^[ao]e(?=[a-z]{4})"), "e"),
    (re.compile(r"(?<=\w{3})our(?=$|s$|ed$|ing$|al$|less$)"), "or"),
    (re.compile(r"([iy])s(?=(?:e|ed|es|er|ing|ation)$)"), r"\1z"),
    (re.compile(r"(?<=[bt])re(?=s?$)"), "er"),
    (re.compile(r"sulph"), "sulf"),
)
# A unit after a number may be written out, abbreviated or in the plural.
# fmt: off
_UNITS = {
    unit: name
    for name, units in {
        "second": "s sec secs seconds", "minute": "min mins minutes", "hour": "h hr hrs hours",
        "day": "days", "week": "wk wks weeks", "month": "months", "year": "yr yrs years",
        "nanometer": "nm nanometers", "micrometer": "um micrometers micron microns",
        "millimeter": "mm millimeters", "centimeter": "cm cms centimeters",
        "kilometer": "km kms kilometers", "microgram": "mcg ug micrograms",
        "milligram": "mg mgs milligrams", "gram": "g gm gms grams", "kilogram": "kg kgs kilograms",
        "milliliter": "ml mls milliliters", "deciliter": "dl deciliters", "liter": "l liters",
    }.items()
    for unit in units.split()
}
# fmt: on
_QUANTITY = re.compile(rf"(?<=\d)( ?)({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?= |$)")
_MIN_SPELLING_LENGTH = 5
_MIN_TYPO_LENGTH = 7
"""Letters; in a shorter word one edit may give another drug, gene or bone (ileum, ilium)."""
_TOO_SIMILAR_EDITS = 3
"""Edits; if another option is this similar, no misspelling is accepted."""


def normalize_for_matching(text: str) -> str:
    """Normalise a text for matching.

    Case, accents, punctuation, articles, spacing, British spelling and spellings of units are
    unified.
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    # "Burkitt's" and "Burkitts" are one word.
    plain = _POINT.sub(" point ", _MINUS.sub(" minus ", _APOSTROPHE.sub("", plain)))
    for sign, words in _SIGNS.items():
        plain = plain.replace(sign, f" {words} ")
    words = " ".join(_americanize(word) for word in _WORD.findall(_ARTICLE.sub("", plain)))
    return _QUANTITY.sub(lambda found: f" {_UNITS[found[2]]}", words)


def max_name_length(options: Sequence[str]) -> int:
    """Return an upper bound of the length of a text that can name an option, characters."""
    return 40 + 2 * max(
        len(name) for option in options for name in (option, *option_spellings(option))
    )


@lru_cache(maxsize=1024)
def option_spellings(option: str) -> frozenset[str]:
    """Return the normalised texts that name an option.

    A bracket may be omitted, and a bracketed abbreviation may replace the words that it
    abbreviates: "lymphocyte-predominant Hodgkin disease (HD)" is also
    "lymphocyte-predominant HD".
    """
    texts = {option, _BRACKETED.sub("", option)}
    for found in _BRACKETED.finditer(option):
        before, short = option[: found.start()], found[1].strip()
        if (start := _find_abbreviated_words(before, short)) is not None:
            texts.add(before[:start] + short + option[found.end() :])
    return frozenset(normalize_for_matching(text) for text in texts if normalize_for_matching(text))


def match_option(text: str, options: Sequence[str]) -> int | None:
    """Return the option that a text names.

    An option's exact text has priority over its other spellings; otherwise one small misspelling
    is accepted, if it cannot have another meaning.

    Returns:
        Index of the option; None if no option, or more than one, matches.
    """
    if len(text) > max_name_length(options):
        return None
    table = [option_spellings(option) for option in options]
    folded = [_normalized_option(option) for option in options]
    forms = dict.fromkeys((text, _LEADING_A.sub("", text), _remove_abbreviations(text)))
    for said in map(normalize_for_matching, forms):
        own = [index for index, name in enumerate(folded) if name == said != ""]
        exact = own or [index for index, names in enumerate(table) if said in names]
        if exact:
            return exact[0] if len(exact) == 1 else None
    return _match_misspelling(normalize_for_matching(text), table)


def find_mentioned_options(text: str, options: Sequence[str]) -> set[int]:
    """Return the options that occur in a text as whole words.

    An option that occurs only inside a longer mentioned option is not counted.
    """
    said = f" {normalize_for_matching(text)} "
    found: dict[int, set[str]] = {}
    for index, option in enumerate(options):
        names = {name for name in option_spellings(option) if f" {name} " in said}
        if names:
            found[index] = names
    return {
        index
        for index, names in found.items()
        if any(_occurs_outside(name, said, _longer_names(name, index, found)) for name in names)
    }


@lru_cache(maxsize=1024)
def _normalized_option(option: str) -> str:
    return normalize_for_matching(option)


def _match_misspelling(said: str, table: Sequence[frozenset[str]]) -> int | None:
    """Return the option that a text misspells, if it is unique and no other option is similar."""
    slips = [i for i, names in enumerate(table) if any(_is_typo(said, name) for name in names)]
    if len(slips) != 1:
        return None
    others = (name for i, names in enumerate(table) if i != slips[0] for name in names)
    return (
        slips[0] if all(OSA.distance(said, name) > _TOO_SIMILAR_EDITS for name in others) else None
    )


def _is_typo(said: str, name: str) -> bool:
    """Return whether one letter of one long word was dropped, added or swapped with the next.

    A replaced letter is not accepted: abduction, osteoblast and peroneal are one replaced
    letter from adduction, osteoclast and perineal; nor is the first letter: asystole, systole.
    """
    pairs = list(zip(said.split(), name.split(), strict=False))
    if len(said.split()) != len(name.split()) or sum(a != b for a, b in pairs) != 1:
        return False
    a, b = next((a, b) for a, b in pairs if a != b)
    return (
        (a + b).isalpha()
        and a[0] == b[0]
        and min(len(a), len(b)) >= _MIN_TYPO_LENGTH
        and OSA.distance(a, b) == 1
        and (len(a) != len(b) or sorted(a) == sorted(b))
    )


def _longer_names(name: str, index: int, found: dict[int, set[str]]) -> list[str]:
    return [
        n
        for other, names in found.items()
        if other != index
        for n in names
        if name in n and n != name
    ]


def _occurs_outside(name: str, said: str, longer: Sequence[str]) -> bool:
    for text in longer:
        said = re.sub(f"(?<= ){re.escape(text)}(?= )", "|", said)
    return f" {name} " in said


def _find_abbreviated_words(before: str, short: str) -> int | None:
    """Return where the words spelled by the following abbreviation begin; None if none."""
    words = list(_WORD.finditer(before))[-len(short) :]
    if len(short) < 2 or "".join(w[0][0] for w in words).casefold() != short.casefold():
        return None
    return words[0].start()


def _remove_abbreviations(text: str) -> str:
    """Remove bracketed abbreviations of the preceding words."""
    for found in reversed(list(_BRACKETED.finditer(text))):
        if _find_abbreviated_words(text[: found.start()], found[1].strip()) is not None:
            text = text[: found.start()] + text[found.end() :]
    return text


def _americanize(word: str) -> str:
    if len(word) < _MIN_SPELLING_LENGTH:
        return word
    for british, american in _SPELLINGS:
        word = british.sub(american, word)
    return word
