"""`medtune study robustness MODEL DATA`: what the answers depend on beside the question.

Opens the model once and asks the same questions in several ways: plainly in all cyclic orders of
the options, without their stems, with "None of the above", and with a wrong answer pushed in the
stem or inside an option.  Each exam has a folder of its own, and one that is still valid is not
held again.  Writes `record.json` and `robustness.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from medtune.core.errors import InputError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD
from medtune.core.progress import Progress
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Method, Variant
from medtune.core.run_folder import locked, write_record
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, refuse_constraint
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.open_model import open_model
from medtune.models.weights_card import manner
from medtune.studies.robustness.analysis import ExamRun, judge, write_robustness
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.workflows.trained_on import trained_on

PAGE = "robustness.html"
SEED = 0
"""Of the variants; fixed, so that all models are asked the same."""


@dataclass(frozen=True, slots=True)
class RobustnessOptions:
    """What the command line may say."""

    model: str
    data: str
    method: Method
    adapter: Path | None = None
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None takes the adapter's own, or the default."""
    settings: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Its orders and its options-only baseline are the study's own affair; no shots."""
    dtype: str = "auto"
    batch: int | None = None
    label: str | None = None
    form: Form | None = None
    """How free answers are asked for; None takes what the adapter was trained on, else letters."""


def robustness(options: RobustnessOptions, folder: Path, progress: Progress) -> RobustnessRecord:
    """Study one model on one split.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    _check(options)
    split = load_split(options.data, options.columns, options.limit, progress)
    asked = manner(options.model, options.adapter, options.style, options.form, options.label)
    given = Exam.planned(
        options.settings.model_copy(update={"orders": "given", "options_only": 0}),
        options.method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        (),
    )
    known = trained_on(options.model, split.questions, options.adapter)
    exams = _exams(replace(given, trained_on=known), progress)
    model = open_model(
        options.model,
        questions=split.questions,
        adapter=options.adapter,
        style=asked.style,
        dtype=options.dtype,
        batch=options.batch,
        progress=progress,
    )
    with locked(folder):
        held = []
        for exam in exams:
            name = exam.variant
            own = asked.label if name == "plain" else f"{asked.label}, {name}"
            found = examined(model, exam, own, STRICT, folder / name, progress)
            held.append(ExamRun(exam, name, *found))
        record = judge(held, asked.label, SEED)
        write_robustness(folder / PAGE, record)
        write_record(folder / RECORD, record)
    return record


def _exams(given: Exam, progress: Progress) -> list[Exam]:
    """Plan the plain exam and every variant of it; before a model is loaded, in case one fails."""
    free = given.method == "generate"
    exams = [given if free else replace(given, orders="cyclic")]
    variants: tuple[Variant, ...] = get_args(Variant)
    for variant in variants:
        if variant == "plain":
            continue
        exam = given.on_variant(variant, SEED)
        if exam.questions:
            exams.append(exam)
        else:
            progress.say(f"{variant}: left out, it cannot be made of any of these questions")
    return exams


def _check(options: RobustnessOptions) -> None:
    if options.settings.shots:
        raise InputError(
            f"a study of robustness with {options.settings.shots} worked examples",
            expected="no worked examples: they would show what plain questions look like",
            fix="leave --shots out",
        )
    refuse_constraint(options.method, options.settings)
