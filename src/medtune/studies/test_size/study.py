"""`medtune study test-size A [B]`: what smaller tests, drawn from saved answers, would have shown.

Reads the evaluations' folders; writes `test-size.json` and `test-size.html`.  No model is run.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.model_labels import distinct_labels
from medtune.core.predictions_io import read_evaluation
from medtune.core.run_folder import locked, write_record
from medtune.data.hash_sampling import shares
from medtune.studies.test_size.analysis import sample_size as study_sizes
from medtune.studies.test_size.analysis import subject_counts
from medtune.studies.test_size.page import write_sample_size
from medtune.studies.test_size.schema import SamplePlan, SampleSizeRecord


def sample_size(
    a: Path, b: Path | None, plan: SamplePlan, by_subject: bool, folder: Path
) -> SampleSizeRecord:
    """Study the size of a test.

    Args:
        a: Folder of an evaluation; with a second one, the reference.
        b: Folder of the candidate's evaluation, on the same questions.
        plan: What to draw.
        by_subject: Whether to draw by subject as well, in proportion to their questions.
        folder: Where to write.

    Raises:
        PredictionsError: An evaluation cannot be read, is too small, has no subjects to draw by,
            or the two are not of the same questions.
        FolderError: The folder cannot be written.
    """
    first, second = read_evaluation(a), None
    if b is not None:
        second = read_evaluation(b)
        labels = distinct_labels((first[0].label, a), (second[0].label, b))
        first, second = (
            (record.model_copy(update={"label": label}), predictions)
            for (record, predictions), label in zip((first, second), labels, strict=True)
        )
    lots = None
    if by_subject:
        counts = subject_counts(first[1])
        n = sum(counts.values())
        lots = {size: shares(size, counts, counts) for size in plan.within(n)}
    record = study_sizes(first, second, plan, lots)
    with locked(folder):
        write_record(folder / "test-size.json", record)
        write_sample_size(folder / "test-size.html", record)
    return record
