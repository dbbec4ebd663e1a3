"""Export decided reviews as training questions (`medtune monitor corrections --out FOLDER`).

    medtune monitor corrections --data runs/serve --out corrections
    medtune train my.toml --set data.train=snapshot:corrections

The decided review items become one train split, marked as training-only: evaluations refuse it.
Feedback of askers is no label: it is only counted, beside the reviews of the same questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from medtune.core.progress import Progress
from medtune.core.run_folder import lock_folder
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.data.corrections_snapshot import (
    Corrections,
    clean_corrections,
    name_corrections_source,
    no_corrections_error,
    write_corrections,
)
from medtune.serving.data_dir import resolve_database_url
from medtune.serving.monitoring.settled_reviews import (
    Settlement,
    correction_origin,
    has_redaction_mark,
    settle_reviews,
    summarize_feedback,
)
from medtune.serving.schemas import Feedback, Reviewed
from medtune.serving.storage.store import Store


def export_corrections(
    folder: Path, database: str | None, out: Path, progress: Progress
) -> CorrectionsManifest:
    """Write a snapshot of the decided reviews.

    They are read from the endpoint's folder or database; a folder with the same content is left
    unchanged.

    Raises:
        EmptySplitError: No item is decided.
        DataError: The folder to write contains other data.
        StoreError: The store cannot be read.
        FolderError: The folder cannot be written.
    """
    with closing(Store.open(resolve_database_url(folder, database))) as store:
        counts = store.requests.count()
        decided, feedback = store.reviews.list_decided(), store.requests.list_feedback()
    undecided = counts.waiting + counts.held
    settlement = settle_reviews(decided)
    if not settlement.kept:
        why = Counter(reason for _, reason in settlement.left_out).most_common()
        raise no_corrections_error(
            f"none of {len(decided)} decided items can be trained on"
            + "".join(f"; {count} × {reason}" for reason, count in why)
            + f"; {undecided} are undecided"
        )
    corrections = _build_corrections(settlement, decided, feedback, undecided)
    with lock_folder(out):
        manifest = write_corrections(corrections, out)
    progress.log_message(f"train on it: data.train = snapshot:{out}")
    return manifest


def _build_corrections(
    settlement: Settlement,
    decided: Sequence[Reviewed],
    feedback: Sequence[Feedback],
    undecided: int,
) -> Corrections:
    """Clean the questions and record the outcome of every item."""
    source = name_corrections_source([one.reviewed.item.release for one in settlement.kept])
    cleaned = clean_corrections(settlement.training_rows(), source)
    unfit = dict(cleaned.excluded)
    said = {one.request_id: one for one in feedback}
    return Corrections(
        source=source,
        questions=cleaned.questions,
        origins=tuple(
            correction_origin(one, said.get(one.reviewed.item.request_id))
            for one in settlement.kept
            if one.id not in unfit
        ),
        excluded=(
            *settlement.left_out,
            *(
                (one.reviewed.item.request_id, unfit[one.id])
                for one in settlement.kept
                if one.id in unfit
            ),
        ),
        undecided=undecided,
        marked=sum(map(has_redaction_mark, cleaned.questions)),
        askers=summarize_feedback(feedback, decided),
    )
