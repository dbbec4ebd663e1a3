"""Parse options as people write them: several in one cell, with letters in front."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalize_option
from medtune.data.cleaning.normalize_text import clean_text

_MAX_CELL_LENGTH = 20_000
"""Longest cell that is parsed, characters; the time is linear in it."""
_FIRST_MARK = re.compile(r"\s*(?P<open>[(\[]?)(?P<mark>[Aa1])(?P<close>[)\]]|[.:](?=\s))\s*(?=\S)")
_MARK = re.compile(r"\s*(?P<open>[(\[]?)(?P<mark>[A-Ja-j0-9]|10)(?P<close>[)\].:])\s+(?=\S)")
_MARK_WITHOUT_SPACE = re.compile(
    r"\s*(?P<open>[(\[])(?P<mark>[A-Ja-j0-9]|10)(?P<close>[)\]])\s*(?=\S)"
)
_SEPARATORS = ";,|"


def split_options(cell: str) -> list[Any] | None:
    """Split a text into options: a list, or options with letters in front.

    Returns:
        The options without their letters; None if the split is not certain.
    """
    text = cell.strip()
    if len(text) > _MAX_CELL_LENGTH:
        return None
    if text.startswith("["):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(text)
                if isinstance(found, list) and len(found) >= MIN_OPTIONS:
                    return found
    return _split_lettered(text)


def _split_lettered(text: str) -> list[Any] | None:
    """Split "(a) x (b) y", "A. x; B. y" and similar texts."""
    first = _FIRST_MARK.match(text)
    if first is None:
        return None
    start, opening, closing = first["mark"], first["open"], first["close"]
    places = [(first.start(), first.end())]
    for n in range(1, MAX_OPTIONS):
        mark = f"{opening}{chr(ord(start) + n) if start != '1' else n + 1}{closing}"
        found = [match.start() for match in re.finditer(re.escape(mark), text)]
        found = [at for at in found if not text[at - 1].isalnum()]
        if closing in ".:":  # "A.B." is an abbreviation
            found = [at for at in found if text[at + len(mark) : at + len(mark) + 1].isspace()]
        if not found:
            break
        if len(found) > 1 or found[0] < places[-1][1]:
            return None  # named inside an option: "(c) both (a) and (b)"
        places.append((found[0], found[0] + len(mark)))
    again = f"{opening}{start}{closing}"
    if len(places) < MIN_OPTIONS or text.count(again) > 1:
        return None
    ends = [begin for begin, _ in places[1:]] + [len(text)]
    parts = [text[begin:end].strip() for (_, begin), end in zip(places, ends, strict=True)]
    # Remove separators behind every option but, perhaps, the last.
    for mark in _SEPARATORS:
        if all(part.endswith(mark) for part in parts[:-1]):
            parts = [part.removesuffix(mark).rstrip() for part in parts]
    return parts


def strip_option_marks(texts: Sequence[str]) -> list[str] | None:
    """Remove "(a)", "A." and similar marks from the front of options.

    Returns:
        The options; None unless all have their own letter in front in the same style. "A.
        baumannii" is left unchanged: a dot and a small letter are part of a name.
    """
    found = [_MARK.match(text) or _MARK_WITHOUT_SPACE.match(text) for text in texts]
    marks = [match for match in found if match is not None]
    if len(marks) < max(len(texts), MIN_OPTIONS):
        return None
    styles = {(match["open"], match["close"], match["mark"].islower()) for match in marks}
    named = [match["mark"].upper() for match in marks]
    letters = named == list(LETTERS[: len(named)])
    numbers = named == [str(n + 1) for n in range(len(named))]
    if len(styles) != 1 or not (letters or numbers):
        return None
    rest = [text[match.end() :] for text, match in zip(texts, marks, strict=True)]
    _, closing, small = next(iter(styles))
    if closing == "." and not small and (numbers or any(text[:1].islower() for text in rest)):
        return None
    return rest


def strip_answer_mark(value: object, options: Sequence[str]) -> object:
    """Remove the mark from an answer written like its option: "(a)" is a, "(a) x" is x."""
    if not isinstance(value, str):
        return value
    text = clean_text(value)
    if normalize_option(text) in {normalize_option(option) for option in options}:
        return value
    if match := re.fullmatch(r"[(\[]?([A-Ja-j])[)\].:]", text):
        return match[1]
    match = _MARK.match(text) or _MARK_WITHOUT_SPACE.match(text)
    if match is not None and match["mark"].upper() in LETTERS[: len(options)]:
        place = LETTERS.index(match["mark"].upper())
        if normalize_option(text[match.end() :]) == normalize_option(options[place]):
            return options[place]
    return value


def names_several_options(value: object, options: Sequence[str]) -> bool:
    """Return whether an answer names several options: a list, "A, C", "A and C", "1;3"."""
    if isinstance(value, list | tuple):
        return len(value) > 1
    if not isinstance(value, str):
        return False
    text = clean_text(value)
    if normalize_option(text) in {normalize_option(option) for option in options}:
        return False
    parts = [part.strip(" ()[].") for part in re.split(r"\s*(?:[,;/&+|]|\band\b)\s*", text)]
    if len(parts) < 2:
        return False
    letters = all(len(part) == 1 and part.upper() in LETTERS[: len(options)] for part in parts)
    return letters or all(part.isdecimal() and int(part) <= len(options) for part in parts)
