"""A column mapping for an unknown file: proposed from names, proven on the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from medtune.core.errors import DataError, LabelError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalized_option
from medtune.data.clean import Cleaned, cell_of, clean, option_cells
from medtune.data.files import Located, Row
from medtune.data.text import tidy

SAMPLE = 2000
"""Rows that are looked at."""
_FITS = 0.98
"""Share of rows whose answer must fit for a column to be the answer."""
_SHORT = 80
"""Longest example shown for a column."""

_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "qid", "questionid", "pubid", "uid", "uuid", "index"),
    "stem": ("question", "stem", "questionstem", "query", "sent1", "prompt", "text", "frage"),
    "options": ("options", "choices", "answerchoices", "endings", "candidates", "alternatives"),
    "answer": (
        "cop",
        "answeridx",
        "answerindex",
        "correctanswer",
        "correctoption",
        "answerkey",
        "answer",
        "label",
        "gold",
        "target",
        "correct",
        "key",
        "correctidx",
        "correctindex",
        "solution",
        "finaldecision",
    ),
    "context": ("context", "passage", "abstract", "contexts", "article"),
    "subject": ("subjectname", "subject", "specialty", "speciality", "category", "discipline"),
    "topic": ("topicname", "topic", "metainfo", "subcategory", "chapter"),
    "explanation": ("exp", "explanation", "rationale", "longanswer", "reasoning", "cot"),
    "group": ("group", "cluster", "fact", "groupid"),
    "split": ("split", "fold", "partition", "subset"),
}
_SERIES = re.compile(
    r"^(?P<head>op|opt|option|choice|ans|answer|ending|distractor|candidate|)[ _.-]?"
    r"(?P<mark>[a-j]|10|[0-9])$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Proposal:
    """A mapping with what speaks for it and against it."""

    mapping: ColumnMapping
    why: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    cleaned: Cleaned | None = None
    """The sample under the mapping; None where it could not be read."""


def sample_rows(rows: Iterable[Located]) -> list[Located]:
    """Take the rows that a proposal is made from: the first ones."""
    return list(islice(rows, SAMPLE))


def column_names(rows: Sequence[Located]) -> dict[str, str]:
    """List the columns, nested ones with dots, each with an example of its values."""
    found: dict[str, str] = {}
    for _, row in rows:
        for name, value in _flat(row):
            if value is not None and not found.get(name):
                found[name] = _example(value)
            else:
                found.setdefault(name, "")
    return found


def propose(rows: Sequence[Located], source: str) -> Proposal:
    """Propose a mapping.

    Args:
        rows: A sample of the file.
        source: Name of the data, for messages.

    Raises:
        DataError: There is no row.
    """
    if not rows:
        raise DataError(f"{source} holds no row", expected="at least one question")
    work = _Search([row for _, row in rows], column_names(rows))
    proposal = Proposal(ColumnMapping(), work.why, work.problems)
    parts: dict[str, Any] = {"stem": work.stem(), "options": work.options()}
    if parts["options"]:
        parts |= work.answer(parts["options"])
    for optional in ("id", "subject", "topic", "explanation", "context", "group"):
        parts[optional] = work.named(optional, taken=parts) or ""
    parts["split"] = work.named("split", taken=parts) or "split"
    given = {name: value for name, value in parts.items() if value not in (None, ())}
    proposal.mapping = ColumnMapping.model_validate(given)
    if not proposal.problems:
        try:
            proposal.cleaned = clean(rows, proposal.mapping, source, need_labels=False)
        except LabelError as error:
            proposal.problems.append(f"{error.found}: {error.fix}")
        except DataError as error:
            proposal.problems.append(error.found)
    return proposal


class _Search:
    """Finds the columns, one part of the mapping after the other."""

    def __init__(self, rows: Sequence[Row], columns: dict[str, str]) -> None:
        self.rows = rows
        self.columns = columns
        self.why: dict[str, str] = {}
        self.problems: list[str] = []

    def stem(self) -> str | None:
        if name := self.named("stem", taken={}):
            return name
        texts = {
            name: values
            for name in self.columns
            if (values := [v for v in self._values(name) if isinstance(v, str)])
        }
        asking = {name: sum("?" in v for v in values) for name, values in texts.items()}
        best = max(asking, key=lambda name: asking[name], default=None)
        if best is None or not asking[best]:
            self.problems.append(
                "no column looks like the question: set stem under [data.columns] to one of "
                + ", ".join(self.columns)
            )
            return None
        self.why["stem"] = f"{asking[best]} of {len(self.rows)} values hold a question mark"
        return best

    def options(self) -> tuple[str, ...]:
        if name := self._first_named("options", self._holds_list):
            self.why["options"] = f"{name} holds a list of options"
            return (name,)
        series: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for name in self.columns:
            if found := _SERIES.match(name.rpartition(".")[2]):
                prefix = name[: len(name) - len(found[0])] + found["head"].casefold()
                kind = "digit" if found["mark"].isdigit() else "letter"
                series.setdefault((prefix, kind), []).append((found["mark"].casefold(), name))
        fitting = [
            sorted(some, key=lambda pair: (len(pair[0]), pair[0]))
            for some in series.values()
            if MIN_OPTIONS <= len(some) <= MAX_OPTIONS
        ]
        if fitting:
            names = tuple(name for _, name in max(fitting, key=len))
            self.why["options"] = f"{', '.join(names)} are a series"
            return names
        if name := next((name for name in self.columns if self._holds_list(name)), None):
            self.why["options"] = f"{name} holds a list of 2 to 10 texts"
            return (name,)
        self.problems.append(
            "no columns look like the options: set options under [data.columns], one column "
            "each or one that holds a list, or fixed_options where all questions share them"
        )
        return ()

    def answer(self, options: tuple[str, ...]) -> dict[str, Any]:
        """Find the column whose every value fits the options."""
        mapping = ColumnMapping(options=options)
        cells = [[tidy(cell) for cell in option_cells(row, mapping)] for row in self.rows]
        best: tuple[float, int, str] | None = None
        for name in self.columns:
            if name in options or _is(name, "id"):
                continue
            fits = self._fits(name, cells)
            rank = _rank(name, "answer")
            if fits >= _FITS and rank is not None and (best is None or (-fits, rank) < best[:2]):
                best = (-fits, rank, name)
        if best is None:
            self.problems.append(
                "no column looks like the right answer: set answer under [data.columns] to one of "
                + ", ".join(self.columns)
            )
            return {}
        self.why["answer"] = f"{100 * -best[0]:.0f} % of the values of {best[2]} fit the options"
        return {"answer": best[2]}

    def named(self, part: str, taken: dict[str, Any]) -> str | None:
        """Find a column by its name."""
        used = {name for value in taken.values() for name in _as_tuple(value)}
        name = self._first_named(part, lambda column: column not in used)
        if name:
            self.why[part] = f"{name} is a usual name for it"
        return name

    def _first_named(self, part: str, suits: Any) -> str | None:
        ranked = [(rank, n) for n in self.columns if (rank := _rank(n, part)) is not None]
        return next((name for _, name in sorted(ranked) if suits(name)), None)

    def _values(self, name: str) -> list[Any]:
        return [value for row in self.rows if (value := cell_of(row, name)) is not None]

    def _holds_list(self, name: str) -> bool:
        values = self._values(name)
        return bool(values) and all(
            isinstance(value, list | dict) and MIN_OPTIONS <= len(value) <= MAX_OPTIONS
            for value in values
        )

    def _fits(self, name: str, cells: Sequence[Sequence[str]]) -> float:
        """Tell the share of rows in which a value is an index, a letter or a text of an option."""
        known = fitting = 0
        for row, options in zip(self.rows, cells, strict=True):
            value = cell_of(row, name)
            if not tidy(value) or isinstance(value, list | dict):
                continue
            known += 1
            fitting += _may_answer(value, options)
        return fitting / known if known else 0.0


def _may_answer(value: object, options: Sequence[str]) -> bool:
    said = normalized_option(tidy(value))
    if re.fullmatch(r"-?\d+(?:\.0)?", said):
        return -1 <= float(said) <= len(options)
    if len(said) == 1 and said.upper() in LETTERS[: len(options)]:
        return True
    return said in {normalized_option(option) for option in options}


def _flat(row: Row, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        yield f"{prefix}{name}", value
        # A table of options by letter is one column of options, not many columns.
        if isinstance(value, dict) and not all(len(str(key)) == 1 for key in value):
            yield from _flat(value, f"{prefix}{name}.")


def _example(value: object) -> str:
    text = tidy(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def _rank(column: str, part: str) -> int | None:
    """Tell how usual a column's name is for a part; 0 is the most usual, None is not at all."""
    plain = re.sub(r"[^a-z0-9]", "", column.rpartition(".")[2].casefold())
    return _NAMES[part].index(plain) if plain in _NAMES[part] else None


def _is(column: str, part: str) -> bool:
    return _rank(column, part) is not None


def _as_tuple(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
