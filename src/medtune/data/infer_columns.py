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
from medtune.data.cleaning.clean import Cleaned, cell_of, clean, listed, option_cells
from medtune.data.cleaning.normalize_text import tidy
from medtune.data.cleaning.options import options_in, several
from medtune.data.sources.files import Located, Row

SAMPLE = 2000
"""Rows that are looked at."""
_FITS = 0.98
"""Share of rows whose answer must fit for a column to be the answer."""
_SHORT = 80
"""Longest example shown for a column."""
_OFTEN = 5
"""How often, on average, each of the answers that all questions share must occur."""
_USUAL_ANSWERS = ("yes", "no", "maybe", "true", "false")
_TEXTS = ("context", "explanation", "subject", "topic", "group")
"""Parts that hold lists of texts in some files, which are no options."""
_FIRST_MARKS = (
    list("abcdefghij"),
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],
)
"""How the columns of a series of options count."""

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
class InferredColumns:
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


def propose(
    rows: Sequence[Located], source: str, known: ColumnMapping | None = None
) -> InferredColumns:
    """Propose a mapping.

    Args:
        rows: A sample of the file.
        source: Name of the data, for messages.
        known: Parts that differ from the default are taken as they are.

    Raises:
        DataError: There is no row.
    """
    if not rows:
        raise DataError(f"{source} holds no row", expected="at least one question")
    plain = ColumnMapping()
    given = {k: v for k, v in dict(known or plain).items() if v != getattr(plain, k)}
    work = _Search([row for _, row in rows], column_names(rows), given)
    proposal = InferredColumns(ColumnMapping(), work.why, work.problems)
    parts: dict[str, Any] = {"stem": given.get("stem") or work.stem()}
    parts |= work.by_position(parts["stem"]) or work.options_and_answer()
    for optional in ("id", "subject", "topic", "explanation", "context", "group"):
        parts[optional] = work.named(optional, taken=parts) or ""
    parts["split"] = work.named("split", taken=parts) or "split"
    found = {name: value for name, value in parts.items() if value not in (None, ())}
    proposal.mapping = ColumnMapping.model_validate(found | given)
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

    def __init__(self, rows: Sequence[Row], columns: dict[str, str], given: dict[str, Any]) -> None:
        self.given = given
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
                "no column looks like the question: set stem under [data.columns], or --map stem=, "
                "to one of " + ", ".join(self.columns)
            )
            return None
        self.why["stem"] = f"{asking[best]} of {len(self.rows)} values hold a question mark"
        return best

    def by_position(self, stem: str | None) -> dict[str, Any]:
        """Find options and answer among columns without names: options that stand together.

        The most columns side by side, of which another column's values name one.
        """
        names = list(self.columns)
        if names != [str(n + 1) for n in range(len(names))] or {"options", "answer"} & set(
            self.given
        ):
            return {}
        rest = [name for name in names if name != stem]
        for length in range(min(MAX_OPTIONS, len(rest) - 1), MIN_OPTIONS - 1, -1):
            for start in range(len(rest) - length + 1):
                options = tuple(rest[start : start + length])
                others = [name for name in rest if name not in options]
                if self._contiguous(options) and (answer := self._answer(options, others)):
                    self.why["options"] = f"{', '.join(options)} stand side by side"
                    return {"options": options, "answer": answer}
        return {}

    def _contiguous(self, names: tuple[str, ...]) -> bool:
        return int(names[-1]) - int(names[0]) == len(names) - 1

    def options_and_answer(self) -> dict[str, Any]:
        """Find the options together with an answer that fits them: each proves the other."""
        if {"options", "answer"} <= set(self.given) or "fixed_options" in self.given:
            return {}
        named = self._options()
        if "options" in self.given:
            named = [(self.given["options"], "it was said")]
        for names, why in [*named, *self._other_lists()]:
            if answer := self._answer(names):
                self.why["options"] = why
                return {"options": names, "answer": answer}
        if fixed := self._fixed():
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

    def _options(self) -> list[tuple[tuple[str, ...], str]]:
        """List what may be the options by name, the likeliest first: columns, and why."""
        found: list[tuple[tuple[str, ...], str]] = [
            ((name,), f"{name} holds a list of options")
            for _, name in self._ranked("options")
            if self._holds_list(name) or self._holds_lettered(name)
        ]
        series: dict[tuple[str, str], dict[str, str]] = {}
        for name in self.columns:
            if match := _SERIES.match(name.rpartition(".")[2]):
                prefix = name[: len(name) - len(match[0])] + match["head"].casefold()
                kind = "digit" if match["mark"].isdigit() else "letter"
                series.setdefault((prefix, kind), {})[match["mark"].casefold()] = name
        for marks in sorted(series.values(), key=len, reverse=True):
            # A letter that is missing would shift all that follow.
            first = next((f for f in _FIRST_MARKS if f[0] in marks), "")
            if len(marks) >= MIN_OPTIONS and set(marks) == set(first[: len(marks)]):
                names = tuple(marks[mark] for mark in first[: len(marks)])
                found.append((names, f"{', '.join(names)} are a series"))
        return found

    def _other_lists(self) -> list[tuple[tuple[str, ...], str]]:
        return [
            ((name,), f"{name} holds a list of 2 to 10 texts")
            for name in self.columns
            if self._holds_list(name) and not any(_is(name, part) for part in _TEXTS)
        ]

    def _answer(self, options: tuple[str, ...], among: Sequence[str] = ()) -> str | None:
        """Find the column whose every value fits the options: by its name, or among some."""
        if said := self.given.get("answer"):
            return str(said)
        mapping = ColumnMapping(options=options)
        cells = [[tidy(cell) for cell in option_cells(row, mapping)] for row in self.rows]
        best: tuple[float, int, str] | None = None
        ranked = list(enumerate(among)) or self._ranked("answer")
        for rank, name in ranked:
            if name in options:
                continue
            fits = self._fits(name, cells)
            if fits >= _FITS and (best is None or (-fits, rank) < best[:2]):
                best = (-fits, rank, name)
        if best is None:
            return None
        self.why["answer"] = f"{100 * -best[0]:.0f} % of the values of {best[2]} fit the options"
        return best[2]

    def _fixed(self) -> dict[str, Any]:
        """Find an answer that is one of the same few words in every row (PubMedQA)."""
        for _, name in self._ranked("answer"):
            values = self._values(name)
            texts = {normalized_option(tidy(v)): tidy(v) for v in values if isinstance(v, str)}
            texts.pop("", None)
            known = set(texts) <= set(_USUAL_ANSWERS)
            often = len(values) >= _OFTEN * len(texts) and all(len(t) > 1 for t in texts)
            if not MIN_OPTIONS <= len(texts) <= MAX_OPTIONS or not (known or often):
                continue
            if any(re.fullmatch(r"-?\d+(?:\.\d+)?", text) for text in texts):
                continue
            order = [*(text for text in _USUAL_ANSWERS if text in texts)]
            order += sorted(set(texts) - set(order))
            options = tuple(texts[text] for text in order)
            self.why["options"] = f"{name} is always one of {', '.join(options)}"
            self.why["answer"] = f"{name} is a usual name for it"
            return {"fixed_options": options, "answer": name, "answer_form": "text"}
        return {}

    def named(self, part: str, taken: dict[str, Any]) -> str | None:
        """Find a column by its name."""
        used = {name for value in taken.values() for name in _as_tuple(value)}
        for _, name in self._ranked(part):
            if name not in used and self._holds_text(name, or_list=part == "context"):
                self.why[part] = f"{name} is a usual name for it"
                return name
        return None

    def _ranked(self, part: str) -> list[tuple[int, str]]:
        """List the columns whose name is usual for a part, the most usual first."""
        return sorted((rank, n) for n in self.columns if (rank := _rank(n, part)) is not None)

    def _values(self, name: str) -> list[Any]:
        return [value for row in self.rows if (value := cell_of(row, name)) is not None]

    def _holds_list(self, name: str) -> bool:
        lists = [listed(v) if isinstance(v, list | dict) else [] for v in self._values(name)]
        # ARC has its letters in a list beside the options.
        letters = all(all(len(tidy(text)) == 1 for text in cells) for cells in lists)
        return (
            bool(lists)
            and all(MIN_OPTIONS <= len(cells) <= MAX_OPTIONS for cells in lists)
            and not any(isinstance(cell, list | dict) for cells in lists for cell in cells)
            and (not letters or any(cells != lists[0] for cells in lists))
        )

    def _holds_lettered(self, name: str) -> bool:
        """Tell whether a column's texts each hold options ("(a) x (b) y", a JSON list)."""
        values = self._values(name)
        read = [value for value in values if isinstance(value, str) and options_in(value)]
        return bool(read) and len(read) >= _FITS * len(values)

    def _holds_text(self, name: str, or_list: bool) -> bool:
        """Tell whether a column holds texts, not tables (nor lists of them)."""
        for value in self._values(name):
            parts = value if isinstance(value, list) and or_list else [value]
            if any(isinstance(part, list | dict) for part in parts):
                return False
        return True

    def _fits(self, name: str, cells: Sequence[Sequence[str]]) -> float:
        """Tell the share of rows in which a value is an index, a letter or a text of an option."""
        known = fitting = 0
        for row, options in zip(self.rows, cells, strict=True):
            value = cell_of(row, name)
            if not tidy(value) or isinstance(value, list | dict) or several(value, options):
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
