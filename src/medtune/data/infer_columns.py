"""Infer a column mapping for an unknown file from names, and verify it on the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from medtune.core.errors import DataError, LabelError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalize_option
from medtune.data.cleaning.clean import (
    Cleaned,
    clean_rows,
    get_cell,
    get_option_cells,
    parse_option_list,
)
from medtune.data.cleaning.normalize_text import clean_text
from medtune.data.cleaning.options import names_several_options, split_options
from medtune.data.sources.files import LocatedRow, RawRow

SAMPLE_ROWS = 2000
"""Number of rows that are read."""
_MIN_FIT_RATE = 0.98
"""Least share of rows whose value must fit the options for a column to be the answer."""
_MAX_EXAMPLE_LENGTH = 80
"""Longest example shown for a column."""
_MIN_ANSWER_REPEATS = 5
"""Least mean frequency of each answer, if all questions share the same answers."""
_USUAL_ANSWERS = ("yes", "no", "maybe", "true", "false")
_TEXT_LIST_PARTS = ("context", "explanation", "subject", "topic", "group")
"""Parts that are lists of texts in some files, but are not options."""
_SERIES_MARKS = [list("abcdefghij"), list("0123456789"), [str(n) for n in range(1, 11)]]
"""Ways to number the option columns of a series."""
_NAMES = {
    "id": "id qid questionid pubid uid uuid index",
    "stem": "question stem questionstem query sent1 prompt text frage",
    "options": "options choices answerchoices endings candidates alternatives",
    "answer": "cop answeridx answerindex correctanswer correctoption answerkey answer label gold "
    "target correct key correctidx correctindex solution finaldecision",
    "context": "context passage abstract contexts article",
    "subject": "subjectname subject specialty speciality category discipline",
    "topic": "topicname topic metainfo subcategory chapter",
    "explanation": "exp explanation rationale longanswer reasoning cot",
    "group": "group cluster fact groupid",
    "split": "split fold partition subset",
}
"""Usual names of each part's column, in lower case without signs, the most usual first."""
_SERIES = re.compile(
    r"^(?P<head>op|opt|option|choice|ans|answer|ending|distractor|candidate|)[ _.-]?"
    r"(?P<mark>[a-j]|10|[0-9])$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class InferredColumns:
    """A proposed mapping with its reasons and problems."""

    mapping: ColumnMapping
    why: dict[str, str]
    problems: list[str]
    cleaned: Cleaned | None
    """The sample, cleaned with the mapping; None if that failed."""


def sample_rows(rows: Iterable[LocatedRow]) -> list[LocatedRow]:
    """Return the first rows, from which the mapping is inferred."""
    return list(islice(rows, SAMPLE_ROWS))


def list_columns(rows: Sequence[LocatedRow]) -> dict[str, str]:
    """Return the columns, nested ones with dots, each with an example value."""
    found: dict[str, str] = {}
    for _, row in rows:
        for name, value in _flatten(row):
            if not found.get(name):
                text = clean_text(value)
                cut = len(text) > _MAX_EXAMPLE_LENGTH
                found[name] = f"{text[: _MAX_EXAMPLE_LENGTH - 1]}…" if cut else text
    return found


def infer_columns(
    rows: Sequence[LocatedRow], source: str, known: ColumnMapping | None = None
) -> InferredColumns:
    """Infer a column mapping from a sample of rows; the parts of a known mapping are kept.

    Raises:
        DataError: The sample is empty.
    """
    if not rows:
        raise DataError(f"{source} holds no row", expected="at least one question")
    plain = ColumnMapping()
    given = {k: v for k, v in dict(known or plain).items() if v != getattr(plain, k)}
    search = _ColumnSearch([row for _, row in rows], list(list_columns(rows)), given)
    parts: dict[str, Any] = {"stem": given.get("stem") or search.find_stem()}
    parts |= search.find_by_position(parts["stem"]) or search.find_options_and_answer()
    for optional in ("id", "subject", "topic", "explanation", "context", "group"):
        parts[optional] = search.find_by_name(optional, taken=parts) or ""
    parts["split"] = search.find_by_name("split", taken=parts) or "split"
    found = {name: value for name, value in parts.items() if value not in (None, ())}
    mapping = ColumnMapping.model_validate(found | given)
    cleaned = None
    if not search.problems:
        try:
            cleaned = clean_rows(rows, mapping, source, need_labels=False)
        except LabelError as error:
            search.problems.append(f"{error.found}: {error.fix}")
        except DataError as error:
            search.problems.append(error.found)
    return InferredColumns(mapping, search.why, search.problems, cleaned)


@dataclass(frozen=True, slots=True)
class _ColumnSearch:
    """Search for the columns of each part of the mapping."""

    rows: Sequence[RawRow]
    columns: Sequence[str]
    given: dict[str, Any]
    """Parts that the user has set."""
    why: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def find_stem(self) -> str | None:
        if name := self.find_by_name("stem", taken={}):
            return name
        texts = {
            name: values
            for name in self.columns
            if (values := [v for v in self._column_values(name) if isinstance(v, str)])
        }
        asking = {name: sum("?" in v for v in values) for name, values in texts.items()}
        best = max(asking, key=lambda name: asking[name], default=None)
        if best is None or not asking[best]:
            self.problems.append(
                "no column looks like the question: set stem under [data.columns], or --map stem=, "
                "to one of " + ", ".join(self.columns)
            )
            return None
        self.why["stem"] = f"{asking[best]} of {len(self.rows)} values hold a question mark"
        return best

    def find_by_position(self, stem: str | None) -> dict[str, Any]:
        """Find options and answer in a file without a header.

        The options are the longest run of adjacent columns that fits the values of another column.
        """
        numbered = [str(n + 1) for n in range(len(self.columns))]
        if self.columns != numbered or {"options", "answer"} & set(self.given):
            return {}
        rest = [name for name in numbered if name != stem]
        for length in range(min(MAX_OPTIONS, len(rest) - 1), MIN_OPTIONS - 1, -1):
            for start in range(len(rest) - length + 1):
                options = tuple(rest[start : start + length])
                others = [name for name in rest if name not in options]
                adjacent = int(options[-1]) - int(options[0]) == length - 1
                if adjacent and (answer := self._find_answer(options, others)):
                    self.why["options"] = f"{', '.join(options)} are adjacent"
                    return {"options": options, "answer": answer}
        return {}

    def find_options_and_answer(self) -> dict[str, Any]:
        """Find options and an answer column that fit each other."""
        if {"options", "answer"} <= set(self.given) or "fixed_options" in self.given:
            return {}
        named = self._candidate_options()
        if "options" in self.given:
            named = [(self.given["options"], "set by the user")]
        listed = [
            ((name,), f"{name} holds a list of 2 to 10 texts")
            for name in self.columns
            if self._holds_list(name)
            and not any(name in self._rank_columns(part) for part in _TEXT_LIST_PARTS)
        ]
        for names, why in [*named, *listed]:
            if answer := self._find_answer(names):
                self.why["options"] = why
                return {"options": names, "answer": answer}
        if fixed := self._find_fixed_options():
            return fixed
        if named:
            names, self.why["options"] = named[0]
            self.problems.append(
                f"no column looks like the right answer among {', '.join(names)}: set answer "
                "under [data.columns], or --map answer=, to one of " + ", ".join(self.columns)
            )
            return {"options": names}
        self.problems.append(
            "no columns look like the options: set options under [data.columns], or --map "
            "options=, one column each or one that holds a list, or fixed_options where all "
            "questions share them"
        )
        return {}

    def _candidate_options(self) -> list[tuple[tuple[str, ...], str]]:
        """Return candidate option columns by name with a reason, the most likely first."""
        found: list[tuple[tuple[str, ...], str]] = [
            ((name,), f"{name} holds a list of options")
            for name in self._rank_columns("options")
            if self._holds_list(name) or self._holds_lettered(name)
        ]
        series: dict[tuple[str, str], dict[str, str]] = {}
        for name in self.columns:
            if match := _SERIES.match(name.rpartition(".")[2]):
                prefix = name[: len(name) - len(match[0])] + match["head"].casefold()
                kind = "digit" if match["mark"].isdigit() else "letter"
                series.setdefault((prefix, kind), {})[match["mark"].casefold()] = name
        for marks in sorted(series.values(), key=len, reverse=True):
            # A missing letter would shift all that follow.
            first = next((f for f in _SERIES_MARKS if f[0] in marks), "")
            if len(marks) >= MIN_OPTIONS and set(marks) == set(first[: len(marks)]):
                names = tuple(marks[mark] for mark in first[: len(marks)])
                found.append((names, f"{', '.join(names)} are a series"))
        return found

    def _find_answer(self, options: tuple[str, ...], among: Sequence[str] = ()) -> str | None:
        """Find the column whose values fit the options, by usual names or among given columns."""
        if said := self.given.get("answer"):
            return str(said)
        mapping = ColumnMapping(options=options)
        cells = [[clean_text(cell) for cell in get_option_cells(row, mapping)] for row in self.rows]
        fits = {
            name: rate
            for name in among or self._rank_columns("answer")
            if name not in options and (rate := self._fit_rate(name, cells)) >= _MIN_FIT_RATE
        }
        if not fits:
            return None
        best = max(fits, key=lambda name: fits[name])  # of equal ones the most usual
        self.why["answer"] = f"{100 * fits[best]:.0f} % of the values of {best} fit the options"
        return best

    def _find_fixed_options(self) -> dict[str, Any]:
        """Find an answer column with the same few values in all rows (PubMedQA)."""
        for name in self._rank_columns("answer"):
            values = self._column_values(name)
            texts = {
                normalize_option(clean_text(v)): clean_text(v) for v in values if isinstance(v, str)
            }
            texts.pop("", None)
            known = set(texts) <= set(_USUAL_ANSWERS)
            often = len(values) >= _MIN_ANSWER_REPEATS * len(texts) and all(
                len(t) > 1 for t in texts
            )
            numbers = any(re.fullmatch(r"-?\d+(?:\.\d+)?", text) for text in texts)
            if numbers or not MIN_OPTIONS <= len(texts) <= MAX_OPTIONS or not (known or often):
                continue
            order = [text for text in _USUAL_ANSWERS if text in texts]
            order += sorted(set(texts) - set(order))
            options = tuple(texts[text] for text in order)
            self.why["options"] = f"{name} is always one of {', '.join(options)}"
            self.why["answer"] = f"{name} is a usual name for it"
            return {"fixed_options": options, "answer": name, "answer_form": "text"}
        return {}

    def find_by_name(self, part: str, taken: dict[str, Any]) -> str | None:
        """Find a column of a part by its usual names."""
        used = {n for v in taken.values() for n in (v if isinstance(v, tuple) else (v,))}
        for name in self._rank_columns(part):
            if name not in used and self._holds_text(name, or_list=part == "context"):
                self.why[part] = f"{name} is a usual name for it"
                return name
        return None

    def _rank_columns(self, part: str) -> list[str]:
        """Return the columns with a usual name of a part, the most usual first."""
        usual = _NAMES[part].split()
        plain = {n: re.sub("[^a-z0-9]", "", n.rpartition(".")[2].casefold()) for n in self.columns}
        named = [name for name in self.columns if plain[name] in usual]
        return sorted(named, key=lambda name: (usual.index(plain[name]), name))

    def _column_values(self, name: str) -> list[Any]:
        return [value for row in self.rows if (value := get_cell(row, name)) is not None]

    def _holds_list(self, name: str) -> bool:
        lists = [
            parse_option_list(v) if isinstance(v, list | dict) else []
            for v in self._column_values(name)
        ]
        # ARC has a list of letters beside the list of options.
        letters = all(all(len(clean_text(text)) == 1 for text in cells) for cells in lists)
        return (
            bool(lists)
            and all(MIN_OPTIONS <= len(cells) <= MAX_OPTIONS for cells in lists)
            and not any(isinstance(cell, list | dict) for cells in lists for cell in cells)
            and (not letters or any(cells != lists[0] for cells in lists))
        )

    def _holds_lettered(self, name: str) -> bool:
        """Return whether a column's texts each hold options ("(a) x (b) y", a JSON list)."""
        values = self._column_values(name)
        read = [value for value in values if isinstance(value, str) and split_options(value)]
        return bool(read) and len(read) >= _MIN_FIT_RATE * len(values)

    def _holds_text(self, name: str, or_list: bool) -> bool:
        """Return whether a column holds texts, not tables or lists of tables."""
        for value in self._column_values(name):
            parts = value if isinstance(value, list) and or_list else [value]
            if any(isinstance(part, list | dict) for part in parts):
                return False
        return True

    def _fit_rate(self, name: str, cells: Sequence[Sequence[str]]) -> float:
        """Return the share of rows whose value is an index, letter or text of an option."""
        known = fitting = 0
        for row, options in zip(self.rows, cells, strict=True):
            value = get_cell(row, name)
            if (
                not clean_text(value)
                or isinstance(value, list | dict)
                or names_several_options(value, options)
            ):
                continue
            known += 1
            fitting += _fits_options(value, options)
        return fitting / known if known else 0.0


def _fits_options(value: object, options: Sequence[str]) -> bool:
    said = normalize_option(clean_text(value))
    if re.fullmatch(r"-?\d+(?:\.0)?", said):
        return -1 <= float(said) <= len(options)
    if len(said) == 1 and said.upper() in LETTERS[: len(options)]:
        return True
    return said in {normalize_option(option) for option in options}


def _flatten(row: RawRow, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        yield f"{prefix}{name}", value
        # A table of options by letter is one options column, not many columns.
        if isinstance(value, dict) and not all(len(str(key)) == 1 for key in value):
            yield from _flatten(value, f"{prefix}{name}.")
