"""Run the robustness study (`medtune study robustness MODEL DATA`).

Loads the model once and asks the same questions in several ways: plainly in all cyclic orders of
the options, without their stems, with "None of the above", and with a wrong answer suggested in the
stem or inside an option.  Each exam has its own folder, and a valid one is not repeated.  Writes
`record.json` and `robustness.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from medtune.core.errors import InputError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD_FILE
from medtune.core.progress import Progress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.records import Method, Variant
from medtune.core.run_folder import lock_folder, write_record
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, check_constrained
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import open_model
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.studies.robustness.analysis import ExamRun, build_robustness_record, write_robustness
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.workflows.trained_on import count_training_overlap

PAGE = "robustness.html"
VARIANTS_SEED = 0
"""Seed of the variants; fixed, so that all models are asked the same questions."""


@dataclass(frozen=True, slots=True)
class RobustnessOptions:
    """Options of `medtune study robustness`."""

    model: str
    data: str
    method: Method
    adapter: Path | None = None
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None uses the style of the adapter, or the default."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Evaluation settings; the study sets orders and options-only itself, and allows no shots."""
    dtype: str = "auto"
    batch: int | None = None
    label: str | None = None
    form: FormName | None = None
    """Form of free answers; None uses the form the adapter was trained on, else letters."""


def run_robustness(
    options: RobustnessOptions, folder: Path, progress: Progress
) -> RobustnessRecord:
    """Run the robustness study of one model on one split.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    _check_options(options)
    split = load_split(options.data, options.columns, options.limit, progress)
    asked = resolve_prompt_defaults(
        options.model, options.adapter, options.style, options.form, options.label
    )
    given = Exam.from_config(
        options.settings.model_copy(update={"orders": "given", "options_only": 0}),
        options.method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        (),
    )
    known = count_training_overlap(options.model, split.questions, options.adapter)
    exams = _plan_exams(replace(given, trained_on=known), progress)
    model = open_model(
        options.model,
        questions=split.questions,
        adapter=options.adapter,
        style=asked.style,
        dtype=options.dtype,
        batch=options.batch,
        progress=progress,
    )
    with lock_folder(folder):
        held = []
        for exam in exams:
            name = exam.variant
            own = asked.label if name == "plain" else f"{asked.label}, {name}"
            found = evaluate_or_reuse(model, exam, own, STRICT_PARSER, folder / name, progress)
            held.append(ExamRun(exam, name, *found))
        record = build_robustness_record(held, asked.label, VARIANTS_SEED)
        write_robustness(folder / PAGE, record)
        write_record(folder / RECORD_FILE, record)
    return record


def _plan_exams(given: Exam, progress: Progress) -> list[Exam]:
    """Plan the plain exam and its variants, before the model is loaded, in case one fails."""
    free = given.method == "generate"
    exams = [given if free else replace(given, orders="cyclic")]
    variants: tuple[Variant, ...] = get_args(Variant)
    for variant in variants:
        if variant == "plain":
            continue
        exam = given.perturb(variant, VARIANTS_SEED)
        if exam.questions:
            exams.append(exam)
        else:
            progress.log_message(
                f"{variant}: left out, it cannot be made of any of these questions"
            )
    return exams


def _check_options(options: RobustnessOptions) -> None:
    if options.settings.shots:
        raise InputError(
            f"a study of robustness with {options.settings.shots} worked examples",
            expected="no worked examples: they would show what plain questions look like",
            fix="leave --shots out",
        )
    check_constrained(options.method, options.settings)
