"""An evaluation on disk: `predictions.jsonl`, one line per question, and `record.json`.

While an examination is under way its predictions stand in a draft, so that a killed one goes on
where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from medtune.core.errors import PredictionsError
from medtune.core.records import EvaluationRecord, Prediction
from medtune.core.run_folder import disk_errors, read_record, write_record, write_text

PREDICTIONS = "predictions.jsonl"
ANALYSIS = "analysis.json"
ANALYSIS_PAGE = "analysis.html"
DRAFT = "predictions.draft.jsonl"
RECORD = "record.json"


def write_evaluation(
    folder: Path, record: EvaluationRecord, predictions: Sequence[Prediction]
) -> None:
    """Write an evaluation, the record last: a folder with a record is complete.

    Raises:
        FolderError: The folder cannot be written.
    """
    # What older answers gave must never stand beside newer ones, whatever fails in between.
    with disk_errors(folder):
        for stale in (RECORD, ANALYSIS, ANALYSIS_PAGE):
            (folder / stale).unlink(missing_ok=True)
    write_text(folder / PREDICTIONS, "".join(map(_line, predictions)))
    write_record(folder / RECORD, record)


def read_evaluation(folder: Path) -> tuple[EvaluationRecord, list[Prediction]]:
    """Read an evaluation back.

    Raises:
        PredictionsError: The folder holds none, or its predictions do not match its record.
    """
    record = read_record(folder / RECORD, EvaluationRecord)
    if record is None:
        raise PredictionsError(
            f"{folder} holds no evaluation",
            expected=f"{PREDICTIONS} and {RECORD}, as `medtune evaluate` writes them",
        )
    predictions = read_predictions(folder / PREDICTIONS)
    if len(predictions) != record.counts.n:
        raise PredictionsError(
            f"{folder / PREDICTIONS} has {len(predictions)} lines, "
            f"its record counts {record.counts.n}",
            fix="the file is not whole: evaluate again",
        )
    return record, predictions


def read_predictions(path: Path) -> list[Prediction]:
    """Read a predictions.jsonl.

    Raises:
        PredictionsError: The file is missing, empty, or a line of it is damaged.
    """
    predictions = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            predictions.append(Prediction.model_validate_json(line))
        except ValidationError as error:
            raise PredictionsError(
                f"{path} line {number} is no prediction: {error.errors()[0]['msg']}",
                expected="one JSON object per line, as `medtune evaluate` writes them",
                fix="the file may be truncated: evaluate again",
            ) from error
    if not predictions:
        raise PredictionsError(f"{path} is empty", fix="evaluate again")
    return predictions


class PredictionsDraft:
    """Predictions of an examination that is under way, kept as they come.

    The first line names the examination's inputs; a draft of other inputs is not gone on with.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self._path = folder / DRAFT
        self._head = json.dumps({"inputs": inputs})

    def read(self, ids: Sequence[str]) -> list[Prediction]:
        """Read back what is kept of the first questions, in order; a torn last line is dropped.

        What was kept is written anew, so that what follows begins on a line of its own.

        Raises:
            FolderError: The draft cannot be read or written.
        """
        try:
            with disk_errors(self._path):
                text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        head, *lines = text.split("\n")
        kept: list[Prediction] = []
        if head == self._head:
            for expected, line in zip(ids, lines, strict=False):
                try:
                    prediction = Prediction.model_validate_json(line)
                except ValidationError:
                    break
                if prediction.id != expected:
                    break
                kept.append(prediction)
        write_text(self._path, "".join([self._head, "\n", *map(_line, kept)]))
        return kept

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Keep some more.

        Raises:
            FolderError: They cannot be written; what was kept before still is.
        """
        with disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, predictions)))

    def discard(self) -> None:
        """Remove the draft: the examination is whole."""
        self._path.unlink(missing_ok=True)


def _line(prediction: Prediction) -> str:
    return prediction.model_dump_json(exclude_defaults=True) + "\n"


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file of saved outputs.

    Raises:
        PredictionsError: It does not exist, is a folder, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PredictionsError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise PredictionsError(f"{path} is a folder", expected="a file") from error
    except UnicodeDecodeError as error:
        raise PredictionsError(f"{path} is not UTF-8 at byte {error.start}") from error
    # Not splitlines: JSON leaves U+2028 and its kin inside a text as they are.
    return text.removesuffix("\n").split("\n") if text else []
