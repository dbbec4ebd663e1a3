"""`medtune monitor corrections --out FOLDER`: what reviewers settled, as questions to train on.

    medtune monitor corrections --data runs/serve --out corrections
    medtune train my.toml --set data.train=snapshot:corrections

The store's decided items become one train split, marked as for training only: whatever examines
refuses it.  What askers said is no label: it is counted, beside what reviewers said of the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medtune.core.progress import Progress
from medtune.core.run_folder import locked
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.data.corrections_snapshot import (
    Corrections,
    nothing_settled,
    releases_named,
    teachable,
    write_corrections,
)
from medtune.serving.data_dir import url_in
from medtune.serving.monitoring.settled_reviews import Settlement, hear, is_marked, origin, settle
from medtune.serving.schemas import Feedback, Reviewed
from medtune.serving.storage.store import Store


@dataclass(frozen=True, slots=True)
class StoredReviews:
    """What is read of a store."""

    decided: list[Reviewed]
    """The oldest first."""
    said: list[Feedback]
    undecided: int
    """Items that wait or are held."""


def corrections(
    store: Path, database: str | None, folder: Path, progress: Progress
) -> CorrectionsManifest:
    """Write a snapshot of what reviewers settled.

    Args:
        store: Folder of the endpoint's store.
        database: Where it is in place of that folder.
        folder: To write; one that holds the same already stays as it is.
        progress: Where to report.

    Raises:
        EmptySplitError: Nothing is settled.
        DataError: The folder to write holds other data.
        StoreError: The store cannot be read.
        FolderError: The folder cannot be written.
    """
    kept = _read(store, database)
    settlement = settle(kept.decided)
    if not settlement.kept:
        why = Counter(reason for _, reason in settlement.left_out).most_common()
        raise nothing_settled(
            f"none of {len(kept.decided)} decided items can be trained on"
            + "".join(f"; {count} × {reason}" for reason, count in why)
            + f"; {kept.undecided} are undecided"
        )
    found = _made(kept, settlement)
    with locked(folder):
        manifest = write_corrections(found, folder)
    progress.say(f"train on it: data.train = snapshot:{folder}")
    return manifest


def _read(folder: Path, database: str | None) -> StoredReviews:
    store = Store.open(url_in(folder, database))
    try:
        counts = store.counts()
        return StoredReviews(store.finals(), store.feedback(), counts.waiting + counts.held)
    finally:
        store.close()


def _made(kept: StoredReviews, settlement: Settlement) -> Corrections:
    """Clean the questions, and tell of every item what became of it."""
    source = releases_named([one.reviewed.item.release for one in settlement.kept])
    cleaned = teachable(settlement.rows(), source)
    unfit = dict(cleaned.excluded)
    said = {one.request_id: one for one in kept.said}
    return Corrections(
        source=source,
        questions=cleaned.questions,
        origins=tuple(
            origin(one, said.get(one.reviewed.item.request_id))
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
        marked=sum(map(is_marked, cleaned.questions)),
        askers=hear(kept.said, kept.decided),
    )
