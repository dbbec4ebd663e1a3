"""Run the prompt study (`medtune study prompts EXPERIMENT`): wordings and worked examples.

Every prompt is evaluated on the calibration split; only the best one and the experiment's own are
evaluated on the reported split, which does not influence the choice.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import DataError, InputError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_method, form_for_target
from medtune.data.snapshot import SnapshotSplit
from medtune.evaluation.exam import Exam
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.prompts.analysis import build_prompt_study_record, find_most_accurate
from medtune.studies.prompts.schema import SHOTS, PromptStudyRecord, PromptVariant, list_variants
from medtune.studies.runner import ModelStudy
from medtune.workflows.search_baseline import refuse_open_book


class PromptStudy(ModelStudy[PromptStudyRecord]):
    """The prompt study of an experiment's model.

    Args:
        experiment: The experiment.
        adapter: Adapter of a tuned model; its own prompt is then only one of many.
        shots: Numbers of worked examples.

    Raises:
        InputError: There is no calibration split, or the experiment shows passages.
        DataError: There are not so many examples.
    """

    name = "prompts"
    page = "prompts.html"

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        experiment: Experiment,
        adapter: Path | None = None,
        shots: tuple[int, ...] = SHOTS,
    ) -> None:
        refuse_open_book(experiment, "medtune study prompts")
        if not experiment.data.calibration_size:
            raise InputError(
                "data.calibration_size is 0: there is nothing to choose a prompt on",
                expected="a calibration split, which is never reported on",
                fix="--set data.calibration_size=500",
            )
        super().__init__(
            folder,
            progress,
            experiment.model.source,
            adapter,
            experiment.model.dtype,
            experiment.model.attention,
        )
        snapshot = self.prepare_data(experiment.data, experiment.seed)
        assert snapshot.calibration is not None, "calibration_size is not 0"
        self._experiment, self._pool = experiment, snapshot.train.questions
        self._calibration, self._reported = snapshot.calibration, snapshot.evaluated[0]
        self.questions = [*self._calibration.questions, *self._reported.questions]
        if (most := max(shots)) > len(self._pool):
            raise DataError(f"{most} worked examples, the train split has {len(self._pool)}")
        self._variants = self._list_variants(shots)

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations on the calibration split."""
        return [self._cell(variant, self._calibration) for variant in self._variants]

    def list_last_cells(self) -> list[StudyCell]:
        """List the evaluations of the own and of the best prompt on the reported split."""
        found = {variant: self._read(variant, self._calibration) for variant in self._variants}
        tried = dict.fromkeys((self._variants[0], find_most_accurate(found)))
        return [self._cell(variant, self._reported) for variant in tried]

    def build_record(self, state: GridState) -> PromptStudyRecord:
        """Compare the prompts."""
        found = {variant: self._read(variant, self._calibration) for variant in self._variants}
        own, best = self._variants[0], find_most_accurate(found)
        return build_prompt_study_record(
            self._experiment.name,
            found,
            self._read(own, self._reported),
            self._read(best, self._reported),
            state.cell_s,
        )

    def _list_variants(self, shots: tuple[int, ...]) -> list[PromptVariant]:
        """List the prompt variants, the experiment's own first.

        Parts that a method does not show are not varied: prompts without a list of options have no
        option lines.
        """
        experiment = self._experiment
        form = form_for_method(
            experiment.evaluation.methods[0], form_for_target(experiment.training.target)
        )
        first = self._calibration.questions[0]
        distinct: dict[object, PromptVariant] = {}
        for variant in list_variants(experiment.prompt, shots):
            messages = variant.apply_to_style(experiment.prompt).build_messages(first, form)
            distinct.setdefault((messages, variant.shots), variant)
        return list(distinct.values())

    def _cell(self, variant: PromptVariant, split: SnapshotSplit) -> StudyCell:
        experiment, number = self._experiment, self._variants.index(variant)
        exam = Exam.from_config(
            experiment.evaluation.model_copy(update={"shots": variant.shots, "options_only": 0}),
            experiment.evaluation.methods[0],
            split.questions,
            split.description,
            variant.apply_to_style(experiment.prompt),
            form_for_target(experiment.training.target),
            self._pool,
        )
        return self.evaluation_cell(
            self._cell_name(variant, split), exam, f"prompt {number}" if number else "own prompt"
        )

    def _cell_name(self, variant: PromptVariant, split: SnapshotSplit) -> str:
        role = "calibration" if split is self._calibration else "reported"
        return f"{role}-{self._variants.index(variant):02d}"

    def _read(self, variant: PromptVariant, split: SnapshotSplit) -> Evaluation:
        return self.read_cell(self._cell_name(variant, split))
