"""Take questions from Python: `Question` objects, or dicts with stem, options and answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS, Question, content_hash
from medtune.core.run_folder import write_text

SOURCE = "questions"
"""Name of questions that come from no file."""
OWN_COLUMNS = ColumnMapping(
    id="id",
    stem="stem",
    options=("options",),
    answer="answer",
    answer_form="index",
    answer_base=0,
    subject="subject",
    topic="topic",
    explanation="explanation",
    group="group",
)
"""Columns of a file that `write_questions` writes."""


def read_questions(rows: Iterable[Question | Mapping[str, Any]]) -> list[Question]:
    """Return questions; a dict without an id gets one of its content.

    The answer of a dict is an index from 0, a letter, or the right option's text; None, or none,
    where it is not known.

    Raises:
        DataError: A row is no question, or two questions have one id.
        EmptySplitError: There is no row.
    """
    if isinstance(rows, Question | Mapping) or not isinstance(rows, Iterable):
        raise DataError(
            f"the questions are of type {type(rows).__name__}",
            expected="a list of questions, or the name of a source",
        )
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(iterate_rows(rows)):
        question = row if isinstance(row, Question) else _read_row(row, number)
        first = seen.setdefault(question.id, number)
        if first != number:
            raise DataError(
                f"questions {first} and {number} (counted from 0) have the id {question.id!r}",
                expected="an id of its own for every question",
                fix="leave the ids out: then each is made from the question's content",
            )
        questions.append(question)
    if not questions:
        raise EmptySplitError("there is no question", expected="one or more")
    return questions


def iterate_rows(rows: Iterable[Any]) -> Iterable[Any]:
    """Return the rows of a data frame of pandas or polars as dicts; other rows as they are."""
    if hasattr(rows, "to_dicts"):
        return rows.to_dicts()  # type: ignore[no-any-return]
    if not hasattr(rows, "iloc"):
        return rows
    records = rows.to_dict("records")  # type: ignore[attr-defined]
    return [{name: _plain_cell(cell) for name, cell in row.items()} for row in records]


def _plain_cell(cell: Any) -> Any:
    """Return a cell of pandas without NaN, arrays, and whole numbers that a NaN made floats."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, float):
        return None if cell != cell else int(cell) if cell.is_integer() else cell
    return cell


def write_questions(questions: Sequence[Question], path: Path) -> None:
    """Write questions as JSON lines, which `OWN_COLUMNS` reads again.

    Raises:
        FolderError: The file cannot be written.
    """
    lines = (json.dumps(q.model_dump(mode="json"), ensure_ascii=False) for q in questions)
    write_text(path, "".join(f"{line}\n" for line in lines))


def _read_row(row: object, number: int) -> Question:
    if not isinstance(row, Mapping):
        raise DataError(
            f"question {number} (counted from 0) is of type {type(row).__name__}",
            expected="a Question, or a dict with stem, options and answer",
        )
    options = row.get("options")
    if isinstance(options, str) or not isinstance(options, Sequence):
        raise DataError(
            f"question {number} (counted from 0) has the options {options!r}",
            expected="a list of 2 to 10 texts",
        )
    name = content_hash([str(row.get("stem")), list(map(str, options))])[:12]
    cells = {"id": name, **{str(key): cell for key, cell in row.items()}, "options": tuple(options)}
    cells["answer"] = _read_answer(row.get("answer"), cells["options"], number)
    try:
        return Question(**cells)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the question"
        raise DataError(
            f"question {number} (counted from 0): {where}: "
            f"{fault['msg'].removeprefix('Value error, ')}",
            expected="stem, options and answer; if you like id, subject, topic, explanation",
        ) from error


def _read_answer(answer: object, options: Sequence[object], number: int) -> object:
    """Return the index of an answer that is given as an index, a letter or a text."""
    if answer is None or isinstance(answer, int):
        return answer
    if answer in options:
        return options.index(answer)
    if isinstance(answer, str) and answer in LETTERS[: len(options)] and answer:
        return LETTERS.index(answer)
    raise DataError(
        f"question {number} (counted from 0) has the answer {answer!r}",
        expected="an index from 0, a letter, or the text of one of its options",
    )
