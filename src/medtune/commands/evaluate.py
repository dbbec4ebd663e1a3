"""Evaluate one model on one split with one method (`medtune evaluate MODEL DATA`).

Writes `predictions.jsonl` and `record.json` to a folder that is named after everything that
determines the result, so that no result is overwritten by another.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune.core.errors import DataError, FolderError, InputError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD_FILE
from medtune.core.progress import Progress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.records import EvaluationRecord, Method, Variant
from medtune.core.run_folder import read_valid_record, slugify
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam, check_constrained
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import open_model
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.workflows.distributed import lock_on_main, run_distributed
from medtune.workflows.trained_on import count_training_overlap

MAX_NAME_CHARACTERS = 160
"""Most characters of a folder name without its hash: file systems allow 255 bytes."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Options of `medtune evaluate`."""

    model: str
    data: str
    method: Method
    adapter: Path | None = None
    limit: int | None = None
    shots_from: str | None = None
    variant: Variant = "plain"
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None uses the style of the adapter, or the default."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    dtype: str = "auto"
    batch: int | None = None
    label: str | None = None
    form: FormName | None = None
    """Form of free answers; None uses the form the adapter was trained on, else letters."""


def evaluate(
    options: EvaluateOptions, folder: Path | None, progress: Progress
) -> tuple[EvaluationRecord, Path]:
    """Evaluate one model on one split.

    Args:
        options: Command-line options.
        folder: Folder to write; None is one under runs/eval, named after the evaluation.
        progress: Progress reports.

    Returns:
        The record, and the folder.

    Raises:
        FolderError: The folder contains another evaluation, or cannot be written.
        MedtuneError: The model or the data cannot be used.
    """
    _check_options(options)
    split = load_split(options.data, options.columns, options.limit, progress)
    pool = _select_shot_pool(options, split, progress)
    asked = resolve_prompt_defaults(
        options.model, options.adapter, options.style, options.form, options.label
    )
    model = open_model(
        options.model,
        questions=split.questions,
        adapter=options.adapter,
        style=asked.style,
        dtype=options.dtype,
        batch=options.batch,
        progress=progress,
    )
    exam = Exam.from_config(
        options.settings,
        options.method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        pool,
    )
    known = count_training_overlap(options.model, split.questions, options.adapter)
    exam = replace(exam, trained_on=known)
    if options.variant != "plain":
        exam = exam.perturb(options.variant)
    inputs = exam.hash_inputs(model, STRICT_PARSER.version)
    place = folder or Path("runs") / "eval" / _folder_name(options, inputs)
    with lock_on_main(place):
        _refuse_overwrite(place, inputs)
        record, _ = run_distributed(
            model,
            lambda shared: evaluate_or_reuse(
                shared, exam, asked.label, STRICT_PARSER, place, progress
            ),
        )
    return record, place


def _folder_name(options: EvaluateOptions, inputs: str) -> str:
    """Return a folder name of readable words and the hash of the inputs."""
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
    name = slugify(options.model, str(options.adapter or ""), options.data, options.method, *words)
    return f"{name[-MAX_NAME_CHARACTERS:].strip('-')}-{inputs[:8]}"


def _refuse_overwrite(folder: Path, inputs: str) -> None:
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


def _check_options(options: EvaluateOptions) -> None:
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
    check_constrained(options.method, settings)
    if settings.shots and options.shots_from is None:
        raise DataError(
            f"--shots {settings.shots} without --shots-from",
            expected="a split that is not evaluated, such as starter:train",
        )


def _select_shot_pool(
    options: EvaluateOptions, examined: Split, progress: Progress
) -> QuestionTable:
    """Select worked examples that are not duplicates of evaluated questions."""
    wanted = options.settings.shots
    if not wanted or options.shots_from is None:
        return QuestionTable.from_questions(())
    source = load_split(options.shots_from, options.columns, progress=progress, teaching=True)
    kept = decontaminate(
        CleanedSource(options.shots_from, source.questions),
        [CleanedSource(options.data, examined.questions)],
        near=True,
        within=False,
        progress=progress,
    ).kept
    if wanted > len(kept):
        raise DataError(
            f"--shots {wanted}, but {options.shots_from} has {len(kept)} labelled "
            "questions that are not evaluated themselves",
            fix="ask for fewer shots, or name a larger split with --shots-from",
        )
    return source.questions.take(kept)
