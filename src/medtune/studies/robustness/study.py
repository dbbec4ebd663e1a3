"""Run the robustness study (`medtune study robustness MODEL DATA`).

The same questions are asked in several ways: plainly in all cyclic orders of the options, without
their stems, with "None of the above", and with a wrong answer suggested in the stem or inside an
option.  Every evaluation is a cell, in a folder named by its variant.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.progress import Progress
from medtune.core.records import Method, Variant
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.robustness.analysis import ExamRun, build_robustness_record
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.studies.runner import ModelStudy
from medtune.workflows.training_overlap import count_training_overlap

VARIANTS_SEED = 0
"""Seed of the variants; fixed, so that all models are asked the same questions."""


class RobustnessStudy(ModelStudy[RobustnessRecord]):
    """The robustness study of one model on one split."""

    name = "robustness"
    page = "robustness.html"
    cells_folder = "."

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        model: str,
        data: str,
        method: Method = "letter",
        adapter: Path | None = None,
        limit: int | None = None,
        columns: ColumnMapping | None = None,
        dtype: str = "auto",
        label: str | None = None,
    ) -> None:
        super().__init__(folder, progress, model, adapter, dtype)
        split = load_split(data, columns, limit, progress)
        asked = resolve_prompt_defaults(model, adapter, label=label)
        self.questions, self.style, self._label = split.questions, asked.style, asked.label
        given = Exam.from_config(
            EvaluationConfig(orders="given", options_only=0),
            method,
            split.questions,
            split.description,
            asked.style,
            asked.target,
            (),
        )
        known = count_training_overlap(model, split.questions, adapter)
        self._exams = self._plan_exams(replace(given, trained_on=known))

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations, the plain one first."""
        return [
            self.evaluation_cell(
                name, exam, self._label if name == "plain" else f"{self._label}, {name}"
            )
            for name, exam in self._exams.items()
        ]

    def build_record(self, state: GridState) -> RobustnessRecord:  # noqa: ARG002 - not timed
        """Compare every variant with the plain questions."""
        runs = [ExamRun(exam, name, *self.read_cell(name)) for name, exam in self._exams.items()]
        return build_robustness_record(runs, self._label, VARIANTS_SEED)

    def _plan_exams(self, given: Exam) -> dict[Variant, Exam]:
        """Plan the plain exam and those of its variants that can be made of these questions."""
        free = given.method == "generate"
        exams: dict[Variant, Exam] = {"plain": given if free else replace(given, orders="cyclic")}
        for variant in get_args(Variant):
            if variant == "plain":
                continue
            exam = given.perturb(variant, VARIANTS_SEED)
            if exam.questions:
                exams[variant] = exam
            else:
                self.progress.log_message(
                    f"{variant}: left out, it cannot be made of any of these questions"
                )
        return exams
