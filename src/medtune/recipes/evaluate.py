"""`medtune evaluate MODEL DATA`: one model, one split, one method.

Opens the model, examines it, and writes `predictions.jsonl` and `record.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medtune.analysis.examine import Exam, examined
from medtune.answers.parse import parse
from medtune.core.errors import DataError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.folder import locked
from medtune.core.progress import Progress
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import EvaluationRecord, Method, Question
from medtune.data.load import Split, load_split
from medtune.data.separate import Part, separate
from medtune.models.card import read_card
from medtune.models.door import open_model


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line may say."""

    model: str
    data: str
    method: Method
    adapter: Path | None = None
    limit: int | None = None
    shots: int = 0
    shots_from: str | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None takes the adapter's own, or the default."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    dtype: str = "auto"
    batch: int = 64
    label: str | None = None
    form: Form | None = None
    """How free answers are asked for; None takes what the adapter was trained on, else letters."""


def evaluate(options: EvaluateOptions, folder: Path, progress: Progress) -> EvaluationRecord:
    """Examine one model on one split.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    split = load_split(options.data, options.columns, options.limit, progress)
    shots = _shots(options, split, progress)
    card = read_card(options.adapter) if options.adapter else None
    style = options.style or (card.style if card else PromptStyle())
    model = open_model(
        options.model,
        questions=split.questions,
        adapter=options.adapter,
        style=style,
        dtype=options.dtype,
        batch=options.batch,
        progress=progress,
    )
    exam = Exam(
        questions=split.questions,
        data=split.description,
        style=style,
        method=options.method,
        normalization=options.settings.normalization,
        shots=shots,
        target=options.form or (card.target if card else "letter"),
        max_new_tokens=options.settings.max_new_tokens,
    )
    label = options.label or ("tuned" if card else options.model)
    with locked(folder):
        record, _ = examined(model, exam, label, parse, folder, progress)
    return record


def _shots(options: EvaluateOptions, examined: Split, progress: Progress) -> tuple[Question, ...]:
    """Take worked examples that are not examined themselves, nor anything like them."""
    if not options.shots:
        return ()
    if options.shots_from is None:
        raise DataError(
            f"--shots {options.shots} without --shots-from",
            expected="a split that is not examined, such as starter:train",
        )
    source = load_split(options.shots_from, options.columns, progress=progress)
    kept = separate(
        Part(options.shots_from, source.questions),
        [Part(options.data, examined.questions)],
        near=True,
        within=False,
        progress=progress,
    ).kept
    if options.shots > len(kept):
        raise DataError(
            f"--shots {options.shots}, but {options.shots_from} has {len(kept)} labelled "
            "questions that are not examined themselves",
            fix="ask for fewer shots, or name a larger split with --shots-from",
        )
    return tuple(source.questions.take(kept[: options.shots]))
