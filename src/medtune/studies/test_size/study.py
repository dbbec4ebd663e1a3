"""Run the test-size study (`medtune study test-size A [B]`) by subsampling saved answers.

It reads evaluation folders and has no cells: no model is run.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.model_names import disambiguate_labels
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import Progress
from medtune.data.hash_sampling import allocate_proportionally
from medtune.foreign_logs.read_log import read_evaluation_or_log
from medtune.studies.grid_schema import GridState
from medtune.studies.runner import Study
from medtune.studies.test_size.analysis import build_sample_size_record, count_subjects
from medtune.studies.test_size.schema import SamplePlan, SampleSizeRecord


class SampleSizeStudy(Study[SampleSizeRecord]):
    """The test-size study of one evaluation or two.

    Args:
        a: Evaluation folder; with a second one, the reference.
        b: Evaluation folder of the candidate, on the same questions.
        plan: Sizes, draws and seed.
        by_subject: Whether to draw subsamples stratified by subject as well.

    Raises:
        PredictionsError: An evaluation cannot be read, is too small, has no subjects to draw by,
            or the two are not of the same questions.
    """

    name = "test size"
    page = "test-size.html"
    record_file = "test-size.json"

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        a: Path,
        b: Path | None,
        plan: SamplePlan,
        by_subject: bool,
    ) -> None:
        super().__init__(folder, progress)
        first, second = read_evaluation_or_log(a), None
        if b is not None:
            second = read_evaluation_or_log(b)
            labels = disambiguate_labels((first[0].label, a), (second[0].label, b))
            first, second = (
                Evaluation(record.model_copy(update={"label": label}), predictions)
                for (record, predictions), label in zip((first, second), labels, strict=True)
            )
        lots = None
        if by_subject:
            counts = count_subjects(first[1])
            n = sum(counts.values())
            lots = {
                size: allocate_proportionally(size, counts, counts) for size in plan.sizes_within(n)
            }
        self._record = build_sample_size_record(first, second, plan, lots)

    def build_record(self, state: GridState) -> SampleSizeRecord:  # noqa: ARG002 - no cells
        """Return the record, which needs no cells."""
        return self._record
