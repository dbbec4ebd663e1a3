"""Read saved outputs: the notebook's JSON, or medtune's predictions.jsonl with free text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import read_lines, read_predictions
from medtune.core.records import Record
from medtune.evaluation.parsing.notebook import OPTION_COLUMNS


class SavedOutput(Record):
    """A saved output with the options of its question."""

    id: str
    options: tuple[str, ...] = Field(min_length=2, max_length=10)
    answer: int
    text: str


def read_saved_outputs(path: Path) -> list[SavedOutput]:
    """Read the saved outputs of a file.

    Raises:
        PredictionsError: The file is missing, damaged, or holds no free text.
    """
    if path.suffix == ".jsonl":
        outputs = []
        for prediction in read_predictions(path):
            if not 0 <= prediction.answer < len(prediction.options):
                raise PredictionsError(
                    f"{path} {prediction.id}: answer {prediction.answer} is outside the options"
                )
            if prediction.text is None:
                raise PredictionsError(
                    f"{path} holds scores, no texts (first: {prediction.id})",
                    expected="predictions of --method generate",
                )
            outputs.append(
                SavedOutput(
                    id=prediction.id,
                    options=prediction.options,
                    answer=prediction.answer,
                    text=prediction.text,
                )
            )
        return outputs
    return _read_notebook_results(path)


def _read_notebook_results(path: Path) -> list[SavedOutput]:
    text = "\n".join(read_lines(path))
    try:
        results = json.loads(text)["results"]
        if not results:
            raise PredictionsError(f"{path} holds no results", expected="at least one output")
        return [_notebook_output(path, number, r) for number, r in enumerate(results)]
    except json.JSONDecodeError as error:
        raise PredictionsError(f"{path} is not JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise PredictionsError(
            f"{path} is not the notebook's file: {error!r} is missing",
            expected="results[] with opa, opb, opc, opd, cop and prediction, or a .jsonl",
        ) from error


def _notebook_output(path: Path, number: int, result: dict[str, object]) -> SavedOutput:
    for name in (*OPTION_COLUMNS, "prediction"):
        if result[name] is None:
            raise KeyError(name)
    options = tuple(str(result[name]) for name in OPTION_COLUMNS)
    answer = _parse_cop(result["cop"], options, str(result.get("ground_truth", "")))
    if answer is None:
        raise PredictionsError(
            f"{path} result {number}: cop {result['cop']!r} is outside the options",
            expected="0 to 3, or a letter a to d",
        )
    identity = str(result.get("id") or number)
    return SavedOutput(id=identity, options=options, answer=answer, text=str(result["prediction"]))


def _parse_cop(cop: object, options: Sequence[str], truth: str) -> int | None:
    """Parse the notebook's `cop` (right option): 0 to 3, or a letter."""
    if isinstance(cop, str) and cop.lower() in "abcd" and len(cop) == 1:
        return "abcd".index(cop.lower())
    if isinstance(cop, int) and 0 <= cop < len(options):
        return cop if not truth or options[cop] == truth else None
    return None
