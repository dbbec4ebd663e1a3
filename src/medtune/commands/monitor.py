"""Monitor an endpoint: drift of its requests, and corrections of its answers.

`medtune monitor report` compares recent requests with a reference: the preceding period, or an
evaluation of calibration questions.  `medtune monitor corrections` exports decided reviews:

    medtune monitor corrections --data runs/serve --out corrections
    medtune train my.toml --set data.train=snapshot:corrections

The decided review items become one train split, marked as training-only: evaluations refuse it.
Feedback of askers is no label: it is only counted, beside the reviews of the same questions.
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
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Proportion
from medtune.core.run_folder import lock_folder
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.data.corrections_snapshot import (
    Corrections,
    clean_corrections,
    name_corrections_source,
    no_corrections_error,
    write_corrections,
)
from medtune.guardrails.inquiry_text import normalize_text
from medtune.serving.data_dir import resolve_database_url
from medtune.serving.monitoring.activity import compare_shadows
from medtune.serving.monitoring.drift import categorical_drift, numeric_drift
from medtune.serving.monitoring.schema import FeatureDrift, MonitorRecord
from medtune.serving.monitoring.settled_reviews import (
    Settlement,
    correction_origin,
    has_redaction_mark,
    settle_reviews,
    summarize_feedback,
)
from medtune.serving.schemas import Feedback, RequestRecord, Reviewed
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
