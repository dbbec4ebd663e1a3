"""Export decided reviews as training questions (`medtune monitor corrections --out FOLDER`).

    medtune monitor corrections --data runs/serve --out corrections
    medtune train my.toml --set data.train=snapshot:corrections

The decided review items become one train split, marked as training-only: evaluations refuse it.
Feedback of askers is no label: it is only counted, beside the reviews of the same questions.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class StoredReviews:
    """Reviews and feedback of a store."""

    decided: list[Reviewed]
    """Decided items, the oldest first."""
    said: list[Feedback]
    undecided: int
    """Number of items that are waiting or claimed."""


def export_corrections(
    store: Path, database: str | None, folder: Path, progress: Progress
) -> CorrectionsManifest:
    """Write a snapshot of the decided reviews.

    Args:
        store: Folder of the endpoint's store.
        database: Database URL, in place of that folder.
        folder: Folder to write; one with the same content is left unchanged.
        progress: Progress reports.

    Raises:
        EmptySplitError: No item is decided.
        DataError: The folder to write contains other data.
        StoreError: The store cannot be read.
        FolderError: The folder cannot be written.
    """
    kept = _read_reviews(store, database)
    settlement = settle_reviews(kept.decided)
    if not settlement.kept:
        why = Counter(reason for _, reason in settlement.left_out).most_common()
        raise no_corrections_error(
            f"none of {len(kept.decided)} decided items can be trained on"
            + "".join(f"; {count} × {reason}" for reason, count in why)
            + f"; {kept.undecided} are undecided"
        )
    found = _build_corrections(kept, settlement)
    with lock_folder(folder):
        manifest = write_corrections(found, folder)
    progress.log_message(f"train on it: data.train = snapshot:{folder}")
    return manifest


def _read_reviews(folder: Path, database: str | None) -> StoredReviews:
    with closing(Store.open(resolve_database_url(folder, database))) as store:
        counts = store.count_requests()
        return StoredReviews(
            store.list_decided(), store.list_feedback(), counts.waiting + counts.held
        )


def _build_corrections(kept: StoredReviews, settlement: Settlement) -> Corrections:
    """Clean the questions and record the outcome of every item."""
    source = name_corrections_source([one.reviewed.item.release for one in settlement.kept])
    cleaned = clean_corrections(settlement.training_rows(), source)
    unfit = dict(cleaned.excluded)
    said = {one.request_id: one for one in kept.said}
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
        undecided=kept.undecided,
        marked=sum(map(has_redaction_mark, cleaned.questions)),
        askers=summarize_feedback(kept.said, kept.decided),
    )
