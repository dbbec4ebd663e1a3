"""`medtune evaluate MODEL DATA`: one model, one split, one method.

Opens the model, examines it, and writes `predictions.jsonl` and `record.json`, into a folder that
is named after everything that determines the result: none is ever written over another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune.core.errors import DataError, FolderError, InputError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD
from medtune.core.progress import Progress
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import EvaluationRecord, Method, Variant
from medtune.core.run_folder import slug, valid_record
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, separate
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam, refuse_constraint
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.open_model import open_model
from medtune.models.weights_card import manner
from medtune.workflows.distributed import held, together
from medtune.workflows.trained_on import trained_on

LONGEST_NAME = 160
"""Characters of a folder's name, its hash not counted: file systems take 255 bytes."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line may say."""

    model: str
    data: str
    method: Method
    adapter: Path | None = None
    limit: int | None = None
    shots_from: str | None = None
    variant: Variant = "plain"
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None takes the adapter's own, or the default."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    dtype: str = "auto"
    batch: int | None = None
    label: str | None = None
    form: Form | None = None
    """How free answers are asked for; None takes what the adapter was trained on, else letters."""


def evaluate(
    options: EvaluateOptions, folder: Path | None, progress: Progress
) -> tuple[EvaluationRecord, Path]:
    """Examine one model on one split.

    Args:
        options: What and how.
        folder: Where to write; None is one under runs/eval, named after the examination.
        progress: Where to report.

    Returns:
        The record, and the folder.

    Raises:
        FolderError: The folder holds another examination, or cannot be written.
        MedtuneError: The model or the data cannot be used.
    """
    _check(options)
    split = load_split(options.data, options.columns, options.limit, progress)
    pool = _shot_pool(options, split, progress)
    asked = manner(options.model, options.adapter, options.style, options.form, options.label)
    model = open_model(
        options.model,
        questions=split.questions,
        adapter=options.adapter,
        style=asked.style,
        dtype=options.dtype,
        batch=options.batch,
        progress=progress,
    )
    exam = Exam.planned(
        options.settings,
        options.method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        pool,
    )
    known = trained_on(options.model, split.questions, options.adapter)
    exam = replace(exam, trained_on=known)
    if options.variant != "plain":
        exam = exam.on_variant(options.variant)
    inputs = exam.inputs(model, STRICT.version)
    place = folder or Path("runs") / "eval" / _name(options, inputs)
    with held(place):
        _refuse_another(place, inputs)
        record, _ = together(
            model, lambda shared: examined(shared, exam, asked.label, STRICT, place, progress)
        )
    return record, place


def _name(options: EvaluateOptions, inputs: str) -> str:
    """Name a folder in words, and by the hash of all that determines what is in it."""
    settings = options.settings
    unusual = {
        options.variant: options.variant != "plain",
        settings.orders: settings.orders != "given",
        settings.normalization: options.method == "cloze" and settings.normalization != "byte",
        "constrained": settings.constrained,
        f"{settings.shots}-shot": settings.shots > 0,
        settings.shots_by: settings.shots > 0 and settings.shots_by != "fixed",
        f"first-{options.limit}": options.limit is not None,
        options.form or "": options.method == "generate",
        options.dtype: options.dtype != "auto",
        options.label or "": True,
    }
    words = (word for word, said in unusual.items() if said)
    name = slug(options.model, str(options.adapter or ""), options.data, options.method, *words)
    return f"{name[-LONGEST_NAME:].strip('-')}-{inputs[:8]}"


def _refuse_another(folder: Path, inputs: str) -> None:
    """Refuse to write over what was examined in another way.

    Raises:
        FolderError: The folder holds such a result.
    """
    path = folder / RECORD
    if not path.exists() or valid_record(path, EvaluationRecord, inputs):
        return
    raise FolderError(
        f"{folder} holds the result of another examination",
        expected="an empty or missing folder, or the same examination: model, data, method and "
        "every setting",
        fix="choose another folder with --out, or leave --out away: then each has its own",
    )


def _check(options: EvaluateOptions) -> None:
    settings = options.settings
    if options.method == "generate" and settings.orders != "given":
        raise InputError(
            f"--orders {settings.orders} with free answers, which have no probabilities to average",
            expected="--method letter or cloze",
        )
    if options.variant != "plain" and settings.orders != "given":
        raise InputError(
            f"--variant {options.variant} with --orders {settings.orders}",
            expected="one of the two: a variant may name a letter, which holds in one order only",
        )
    refuse_constraint(options.method, settings)
    if settings.shots and options.shots_from is None:
        raise DataError(
            f"--shots {settings.shots} without --shots-from",
            expected="a split that is not examined, such as starter:train",
        )


def _shot_pool(options: EvaluateOptions, examined: Split, progress: Progress) -> QuestionTable:
    """Find worked examples that are not examined themselves, nor anything like them."""
    wanted = options.settings.shots
    if not wanted or options.shots_from is None:
        return QuestionTable.of(())
    source = load_split(options.shots_from, options.columns, progress=progress, teaching=True)
    kept = separate(
        CleanedSource(options.shots_from, source.questions),
        [CleanedSource(options.data, examined.questions)],
        near=True,
        within=False,
        progress=progress,
    ).kept
    if wanted > len(kept):
        raise DataError(
            f"--shots {wanted}, but {options.shots_from} has {len(kept)} labelled "
            "questions that are not examined themselves",
            fix="ask for fewer shots, or name a larger split with --shots-from",
        )
    return source.questions.take(kept)
