"""Run the test-size study (`medtune study test-size A [B]`) by subsampling saved answers.

Reads the evaluation folders; writes `test-size.json` and `test-size.html`.  No model is run.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.model_labels import disambiguate_labels
from medtune.core.predictions_io import read_evaluation
from medtune.core.run_folder import lock_folder, write_record
from medtune.data.hash_sampling import allocate_proportionally
from medtune.studies.test_size.analysis import build_sample_size_record as study_sizes
from medtune.studies.test_size.analysis import count_subjects
from medtune.studies.test_size.page import write_sample_size
from medtune.studies.test_size.schema import SamplePlan, SampleSizeRecord


def run_test_size(
    a: Path, b: Path | None, plan: SamplePlan, by_subject: bool, folder: Path
) -> SampleSizeRecord:
    """Run the test-size study on saved evaluations.

    Args:
        a: Evaluation folder; with a second one, the reference.
        b: Evaluation folder of the candidate, on the same questions.
        plan: Sizes, draws and seed.
        by_subject: Whether to draw subsamples stratified by subject as well.
        folder: Folder to write.

    Raises:
        PredictionsError: An evaluation cannot be read, is too small, has no subjects to draw by,
            or the two are not of the same questions.
        FolderError: The folder cannot be written.
    """
    first, second = read_evaluation(a), None
    if b is not None:
        second = read_evaluation(b)
        labels = disambiguate_labels((first[0].label, a), (second[0].label, b))
        first, second = (
            (record.model_copy(update={"label": label}), predictions)
            for (record, predictions), label in zip((first, second), labels, strict=True)
        )
    lots = None
    if by_subject:
        counts = count_subjects(first[1])
        n = sum(counts.values())
        lots = {
            size: allocate_proportionally(size, counts, counts) for size in plan.sizes_within(n)
        }
    record = study_sizes(first, second, plan, lots)
    with lock_folder(folder):
        write_record(folder / "test-size.json", record)
        write_sample_size(folder / "test-size.html", record)
    return record
