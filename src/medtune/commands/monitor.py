"""Compare recent requests of an endpoint with a reference (`medtune monitor report`).

The reference is the preceding period, or an evaluation of calibration questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import read_evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import Proportion
from medtune.guardrails.inquiry_text import normalize_text
from medtune.serving.data_dir import resolve_database_url
from medtune.serving.monitoring.activity import compare_shadows
from medtune.serving.monitoring.drift import categorical_drift, numeric_drift
from medtune.serving.monitoring.schema import FeatureDrift, MonitorRecord
from medtune.serving.schemas import RequestRecord
from medtune.serving.storage.store import Store

UNKNOWN_SUBJECT = "unknown"
"""Subject of a question without one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Features of the questions of one period."""

    confidences: list[float]
    lengths: list[float]
    subjects: list[str]


def report_drift(
    folder: Path,
    database: str | None,
    *,
    days: float,
    before_days: float,
    reference: Path | None = None,
    now: datetime | None = None,
) -> MonitorRecord:
    """Compare a period with its reference.

    The reference is the period of `before_days` right before the last `days`, or an evaluation
    folder.

    Raises:
        InputError: The period or the reference has no question.
        StoreError: The store cannot be read.
    """
    end = now or datetime.now(UTC)
    start = end - timedelta(days=days)
    earlier = start - timedelta(days=before_days)
    with closing(Store.open(resolve_database_url(folder, database))) as store:
        present = list(store.requests.iter_period(start, end))
        before = list(store.requests.iter_period(earlier, start))
        numbers = {entry.request_id for entry in present}
        feedback = [one for one in store.requests.list_feedback() if one.request_id in numbers]
        shadows = compare_shadows(
            store.requests.iter_shadowed(start, end), store.reviews.list_decided()
        )
        head = store.audit.read_head()
    if reference is not None:
        name, expected = str(reference), _sample_of_evaluation(reference)
    else:
        name, expected = f"{earlier:%Y-%m-%d} to {start:%Y-%m-%d}", _sample_of_requests(before)
    thumbs = [one.helpful for one in feedback if one.helpful is not None]
    return MonitorRecord(
        start=start,
        end=end,
        reference=name,
        statuses=dict(Counter(entry.status for entry in present)),
        deferred=_deferral_rate(present),
        deferred_reference=_deferral_rate(before) if reference is None else None,
        drifts=_measure_drifts(expected, _sample_of_requests(present), name),
        helpful=wilson_interval(sum(thumbs), len(thumbs)) if thumbs else None,
        corrected=sum(one.corrected is not None for one in feedback),
        shadows=shadows,
        audit=head,
        provenance=collect_provenance(),
    )


def _measure_drifts(reference: Sample, present: Sample, name: str) -> tuple[FeatureDrift, ...]:
    if not present.confidences or not reference.confidences:
        which = "the period" if not present.confidences else f"the reference ({name})"
        raise InputError(
            f"{which} has no question that a model was asked",
            fix="choose another with --days, --before or --reference",
        )
    return (
        numeric_drift("confidence", reference.confidences, present.confidences),
        numeric_drift("length", reference.lengths, present.lengths),
        categorical_drift("subject", reference.subjects, present.subjects),
    )


def _sample_of_requests(entries: Sequence[RequestRecord]) -> Sample:
    asked = [entry for entry in entries if entry.probabilities is not None]
    return Sample(
        [max(entry.probabilities or ()) for entry in asked],
        [float(entry.length) for entry in asked],
        [entry.subject or UNKNOWN_SUBJECT for entry in asked],
    )


def _sample_of_evaluation(folder: Path) -> Sample:
    _, predictions = read_evaluation(folder)
    scored = [p for p in predictions if p.probabilities is not None]
    return Sample(
        [max(p.probabilities or ()) for p in scored],
        [float(len(normalize_text("\n".join((p.stem, *p.options))))) for p in scored],
        [p.subject or UNKNOWN_SUBJECT for p in scored],
    )


def _deferral_rate(entries: Sequence[RequestRecord]) -> Proportion | None:
    taken = [entry for entry in entries if entry.status != "refused"]
    waiting = sum(entry.status != "answered" for entry in taken)
    return wilson_interval(waiting, len(taken)) if taken else None
