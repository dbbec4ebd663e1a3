"""`medtune monitor report`: what an endpoint was asked lately, beside what it was made for.

The reference is the time before, or an evaluation of calibration questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.intervals import wilson
from medtune.core.predictions_io import read_evaluation
from medtune.core.provenance import provenance
from medtune.core.records import Proportion
from medtune.guardrails.inquiry_text import fold
from medtune.serving.data_dir import url_in
from medtune.serving.monitoring.activity import compared
from medtune.serving.monitoring.drift import named_drift, numeric_drift
from medtune.serving.monitoring.schema import FeatureDrift, MonitorRecord
from medtune.serving.schemas import RequestRecord
from medtune.serving.storage.store import Store

UNKNOWN = "unknown"
"""Subject of a question that names none."""


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """What the command line may say."""

    folder: Path
    database: str | None
    days: float
    before_days: float
    """Length of the reference, right before the period."""
    reference: Path | None
    """Evaluation to compare with instead."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is compared."""

    confidences: list[float]
    lengths: list[float]
    subjects: list[str]


def report(options: MonitorOptions, now: datetime | None = None) -> MonitorRecord:
    """Compare a period with its reference.

    Raises:
        InputError: One of them has no question.
        StoreError: The store cannot be read.
    """
    end = now or datetime.now(UTC)
    start = end - timedelta(days=options.days)
    earlier = start - timedelta(days=options.before_days)
    store = Store.open(url_in(options.folder, options.database))
    try:
        present = list(store.entries(start, end))
        before = list(store.entries(earlier, start))
        numbers = {entry.request_id for entry in present}
        said = [one for one in store.feedback() if one.request_id in numbers]
        shadows = compared(store.shadowed(start, end), store.finals())
        head = store.audit_head()
    finally:
        store.close()
    if options.reference is not None:
        name, reference = str(options.reference), _of_evaluation(options.reference)
    else:
        name, reference = f"{earlier:%Y-%m-%d} to {start:%Y-%m-%d}", _of_entries(before)
    thumbs = [one.helpful for one in said if one.helpful is not None]
    return MonitorRecord(
        start=start,
        end=end,
        reference=name,
        statuses=dict(Counter(entry.status for entry in present)),
        deferred=_deferred(present),
        deferred_reference=_deferred(before) if options.reference is None else None,
        drifts=_drifts(reference, _of_entries(present), name),
        helpful=wilson(sum(thumbs), len(thumbs)) if thumbs else None,
        corrected=sum(one.corrected is not None for one in said),
        shadows=shadows,
        audit=head,
        provenance=provenance(),
    )


def _drifts(reference: Sample, present: Sample, name: str) -> tuple[FeatureDrift, ...]:
    if not present.confidences or not reference.confidences:
        which = "the period" if not present.confidences else f"the reference ({name})"
        raise InputError(
            f"{which} has no question that a model was asked",
            fix="choose another with --days, --before or --reference",
        )
    return (
        numeric_drift("confidence", reference.confidences, present.confidences),
        numeric_drift("length", reference.lengths, present.lengths),
        named_drift("subject", reference.subjects, present.subjects),
    )


def _of_entries(entries: Sequence[RequestRecord]) -> Sample:
    asked = [entry for entry in entries if entry.probabilities is not None]
    return Sample(
        [max(entry.probabilities or ()) for entry in asked],
        [float(entry.length) for entry in asked],
        [entry.subject or UNKNOWN for entry in asked],
    )


def _of_evaluation(folder: Path) -> Sample:
    _, predictions = read_evaluation(folder)
    scored = [p for p in predictions if p.probabilities is not None]
    return Sample(
        [max(p.probabilities or ()) for p in scored],
        [float(len(fold("\n".join((p.stem, *p.options))))) for p in scored],
        [p.subject or UNKNOWN for p in scored],
    )


def _deferred(entries: Sequence[RequestRecord]) -> Proportion | None:
    taken = [entry for entry in entries if entry.status != "refused"]
    waiting = sum(entry.status != "answered" for entry in taken)
    return wilson(waiting, len(taken)) if taken else None
