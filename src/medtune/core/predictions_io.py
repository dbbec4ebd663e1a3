"""An evaluation in memory and on disk: `predictions.jsonl`, a line per question, and `record.json`.

During an evaluation the predictions are appended to a draft, so that an interrupted evaluation
can resume.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from medtune.core.display.frames import make_frame
from medtune.core.display.html import render_result
from medtune.core.errors import FolderError, PredictionsError
from medtune.core.formatting import format_interval, format_percent
from medtune.core.records import LETTERS, EvaluationRecord, Prediction, Proportion
from medtune.core.run_folder import (
    as_path,
    read_record,
    read_valid_record,
    translate_disk_errors,
    write_record,
    write_text,
)

PREDICTIONS_FILE = "predictions.jsonl"
ANALYSIS_FILE = "analysis.json"
ANALYSIS_PAGE_FILE = "analysis.html"
DRAFT_FILE = "predictions.draft.jsonl"
RECORD_FILE = "record.json"

if TYPE_CHECKING:
    import pandas


class Evaluation(tuple[EvaluationRecord, Sequence[Prediction]]):
    """One model's predictions on one split by one method, with their record.

    It unpacks as `record, predictions = evaluation`.
    """

    folder: Path | None
    """Folder that it was written to or read from; None where it is in memory only."""

    def __new__(
        cls,
        record: EvaluationRecord,
        predictions: Sequence[Prediction],
        folder: Path | None = None,
    ) -> Self:
        """Make an evaluation of a record and the predictions that it counts."""
        made = super().__new__(cls, (record, predictions))
        made.folder = folder
        return made

    def __getnewargs__(self) -> tuple[EvaluationRecord, Sequence[Prediction], Path | None]:
        """Return the arguments that make a copy."""
        return (*self, self.folder)

    def __repr__(self) -> str:
        share = self.accuracy
        return (
            f"<Evaluation of {self.record.label} on {self.record.data.source} by "
            f"{self.record.method}: {format_percent(share.value)} % "
            f"({format_interval(share)}, n = {share.n:,})>"
        )

    @property
    def record(self) -> EvaluationRecord:
        """Return the record: settings, counts, accuracy and baselines."""
        return self[0]

    @property
    def predictions(self) -> Sequence[Prediction]:
        """Return the predictions, in the order of the questions."""
        return self[1]

    @property
    def accuracy(self) -> Proportion:
        """Return the accuracy with its 95 % interval; unparsed answers count as not correct."""
        return self.record.accuracy

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Load an evaluation from the folder that `save` or `medtune evaluate` wrote.

        `medtune.Evaluation` loads logs of other harnesses as well (`LOG_READERS`).

        Raises:
            PredictionsError: There is none, or predictions and record do not match.
        """
        place = as_path(path)
        if not (place / RECORD_FILE).exists():
            for is_log, read in LOG_READERS:
                if is_log(place):
                    return read(place)
        return read_evaluation(place)

    def save(self, folder: str | Path) -> Evaluation:
        """Write record and predictions to a folder, and return the evaluation there.

        Raises:
            FolderError: The folder cannot be written, or contains another evaluation.
        """
        place = as_path(folder)
        refuse_overwrite(place, self.record.inputs)
        write_evaluation(place, *self)
        return Evaluation(*self, folder=place)

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with a row for each question.

        Raises:
            MedtuneError: pandas is not installed.
        """
        return make_frame(
            {
                "id": p.id,
                "stem": p.stem,
                "subject": p.subject,
                "topic": p.topic,
                "options": list(p.options),
                "answer": LETTERS[p.answer],
                "chosen": None if p.chosen is None else LETTERS[p.chosen],
                "correct": p.chosen == p.answer,
                "outcome": str(p.outcome),
                "probability": (
                    p.probabilities[p.chosen] if p.probabilities and p.chosen is not None else None
                ),
                "text": p.text,
            }
            for p in self.predictions
        )

    def _repr_html_(self) -> str:
        """Show accuracy and baselines in a notebook."""
        record = self.record
        shares = {
            "correct": record.accuracy,
            "answered": record.answer_rate,
            f"always {record.majority_letter}": record.majority,
            "options only": record.options_only,
            "search": record.search.accuracy if record.search is not None else None,
        }
        rows = [
            (name, format_percent(share.value), format_interval(share), share.n)
            for name, share in shares.items()
            if share is not None
        ]
        rows.insert(2, ("chance", format_percent(record.chance), "", record.counts.n))
        title = f"{record.label} on {record.data.source}, method {record.method}"
        return render_result(title, ("", "%", "95 %", "n"), rows)


LOG_READERS: list[tuple[Callable[[Path], bool], Callable[[Path], Evaluation]]] = []
"""What `Evaluation.load` reads beside folders: whether a path may be a log, and the log's reader.

The core knows no log: `foreign_logs.read_log`, where `medtune` takes `Evaluation` from, adds them.
"""


def refuse_overwrite(folder: Path, inputs: str) -> None:
    """Refuse to overwrite the result of another evaluation.

    Raises:
        FolderError: The folder contains such a result.
    """
    path = folder / RECORD_FILE
    if not path.exists() or read_valid_record(path, EvaluationRecord, inputs):
        return
    raise FolderError(
        f"{folder} contains the result of another evaluation",
        expected="an empty or missing folder, or the same evaluation: model, data, method and "
        "every setting",
        fix="choose another folder with --out, or omit --out: then each has its own",
    )


def write_evaluation(
    folder: Path, record: EvaluationRecord, predictions: Sequence[Prediction]
) -> None:
    """Write an evaluation, the record last: a folder with a record is complete.

    Raises:
        FolderError: The folder cannot be written.
    """
    # Remove results of older answers first, so that they never lie beside newer predictions.
    with translate_disk_errors(folder):
        for stale in (RECORD_FILE, ANALYSIS_FILE, ANALYSIS_PAGE_FILE):
            (folder / stale).unlink(missing_ok=True)
    write_text(folder / PREDICTIONS_FILE, "".join(map(_json_line, predictions)))
    write_record(folder / RECORD_FILE, record)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation: its record and its predictions.

    Raises:
        PredictionsError: The folder holds no evaluation, or predictions and record do not match.
    """
    record = read_record(folder / RECORD_FILE, EvaluationRecord)
    if record is None:
        raise PredictionsError(
            f"{folder} holds no evaluation",
            expected=f"{PREDICTIONS_FILE} and {RECORD_FILE}, as `medtune evaluate` writes them",
        )
    predictions = read_predictions(folder / PREDICTIONS_FILE)
    if len(predictions) != record.counts.n:
        raise PredictionsError(
            f"{folder / PREDICTIONS_FILE} has {len(predictions)} lines, "
            f"its record counts {record.counts.n}",
            fix="the file is incomplete: evaluate again",
        )
    return Evaluation(record, predictions, folder)


def refuse_imported(record: EvaluationRecord) -> None:
    """Refuse an imported evaluation where the weights and the prompt must be known.

    Raises:
        PredictionsError: It was imported from a harness's log.
    """
    if record.origin is not None:
        raise PredictionsError(
            f"{record.label} on {record.data.source} was imported from "
            f"{record.origin.display_name}: its weights and its prompt are not proven",
            expected="an evaluation that `medtune evaluate` made",
            fix="evaluate the model here: medtune evaluate MODEL DATA",
        )


def read_predictions(path: Path) -> list[Prediction]:
    """Read a `predictions.jsonl` file.

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
    """Predictions of an unfinished evaluation, appended as they are made.

    The first line is the hash of the evaluation's inputs; a draft of other inputs is ignored.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self._path = folder / DRAFT_FILE
        self._head = json.dumps({"inputs": inputs})

    def read(self, ids: Sequence[str]) -> list[Prediction]:
        """Return the predictions saved so far, in question order; a torn last line is dropped.

        The valid lines are written anew, so that the next prediction begins on its own line.

        Raises:
            FolderError: The draft cannot be read or written.
        """
        try:
            with translate_disk_errors(self._path):
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
        write_text(self._path, "".join([self._head, "\n", *map(_json_line, kept)]))
        return kept

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Append predictions.

        Raises:
            FolderError: The file cannot be written; earlier lines are kept.
        """
        with translate_disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_json_line, predictions)))

    def delete(self) -> None:
        """Delete the draft once the evaluation is complete."""
        self._path.unlink(missing_ok=True)


def _json_line(prediction: Prediction) -> str:
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
    # Not splitlines: JSON does not escape U+2028 and similar line separators inside a text.
    return text.removesuffix("\n").split("\n") if text else []
