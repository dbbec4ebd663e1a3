"""The measured figures of a release, as one list for cards, MLflow and the bill of materials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medtune.core.records import ForgettingRecord, Proportion
from medtune.core.run_folder import slugify
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.compression import BenchRecord
from medtune.releases.gate_schema import Evidence, EvidenceKind, RegressionRecord


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value."""

    key: str
    """Identifier: letters, digits, `_` and `.`."""
    name: str
    """Display name."""
    value: float
    record: EvidenceKind
    """The record that has the value."""
    on: str | None = None
    """Source of the questions."""
    n: int | None = None
    """Number of observations."""
    low: float | None = None
    """Bounds of the 95 % interval; None without one."""
    high: float | None = None


def list_figures(evidence: Evidence) -> tuple[Figure, ...]:
    """List the measured figures."""
    return tuple(_iter_figures(evidence))


def _iter_figures(evidence: Evidence) -> Iterator[Figure]:
    on = None
    if evidence.analysis is not None:
        on = evidence.analysis.evaluation.data.source
        yield from _analysis(evidence.analysis, on)
    if (paired := evidence.comparison) is not None:
        on, name = paired.split, "accuracy minus the champion's"
        ends = paired.difference_low, paired.difference_high
        yield Figure("difference", name, paired.difference, "comparison", on, paired.n, *ends)
    for part in evidence.slices.slices if evidence.slices else ():
        if (part.dimension, part.name) == ("negation", "negated"):
            name = "accuracy minus the champion's, negated questions"
            n, ends = part.accuracy_b.n, (part.difference_low, part.difference_high)
            yield Figure("difference_negated", name, part.difference, "slices", on, n, *ends)
    if evidence.regression is not None:
        yield from _regression(evidence.regression)
    if (kept := evidence.general) is not None:
        yield from _general(kept)
    if (served := evidence.served) is not None:
        n = served.agreement.n
        yield _share(
            "served_agreement",
            "endpoint chooses the same option as offline",
            served.agreement,
            "served",
        )
        name, high = "endpoint, mean drift in nats", served.drift_high
        yield Figure("served_mean_drift", name, served.mean_drift, "served", n=n, high=high)
        name = "endpoint, largest drift in nats"
        yield Figure("served_max_drift", name, served.max_drift, "served", n=n)
    for row in evidence.packed.rows if evidence.packed else ():
        name = f"packed as {row.name}, chooses the same option as unpacked"
        yield _share(f"packed_agreement.{_key_part(row.name)}", name, row.agreement, "packed")
    if evidence.bench is not None:
        yield from _bench(evidence.bench)
    for figure in evidence.safety.figures if evidence.safety else ():
        if figure.half == "held":
            key, name = f"guards.{_key_part(figure.measure)}", f"guards, {figure.measure}"
            yield _share(key, name, figure.rate, "safety", "held-out half of the guards' suites")


def _analysis(record: AnalysisRecord, on: str) -> Iterator[Figure]:
    exam, flips = record.evaluation, record.flips.any if record.flips else None
    always = f"accuracy of always answering {exam.majority_letter}"
    for key, name, share in (
        ("accuracy", "accuracy", exam.accuracy),
        ("answer_rate", "answered", exam.answer_rate),
        ("majority", always, exam.majority),
        ("options_only", "accuracy without the stem", exam.options_only),
        ("search", "accuracy of a text search", exam.search.accuracy if exam.search else None),
        ("order_flips", "answers that depend on the order of options", flips),
    ):
        if share is not None:
            yield _share(key, name, share, "analysis", on)
    after = record.selective.after if record.selective else None
    n = exam.counts.n
    for end, what, found in (("", "", record.calibration), ("_after", " after temperature", after)):
        if found is not None:
            key, name = f"calibration_error{end}", f"calibration error{what}"
            ends = found.error_low, found.error_high
            yield Figure(key, name, found.error, "analysis", on, n, *ends)
            yield Figure(f"brier{end}", f"Brier score{what}", found.brier, "analysis", on, n)


def _regression(record: RegressionRecord) -> Iterator[Figure]:
    on = record.suite.source
    name = "accuracy on the frozen suite"
    yield _share("suite_accuracy", name, record.accuracy, "regression", on)
    if record.lost is not None:
        name = "frozen suite: right by the champion, wrong by this release"
        yield _share("suite_lost", name, record.lost, "regression", on)


def _general(record: ForgettingRecord) -> Iterator[Figure]:
    for found in record.answers:
        key, name = f"general_{found.method}", f"accuracy on general questions by {found.method}"
        yield _share(key, name, found.accuracy_b, "general", found.split)
        ends = found.difference_low, found.difference_high
        name = f"{name}, minus the base model's"
        yield Figure(
            f"{key}_difference", name, found.difference, "general", found.split, found.n, *ends
        )
    text, name = record.text_loss, "loss on plain text, bits per byte"
    yield Figure("text_loss", name, text.loss_b, "general", n=text.n)
    ends, name = (text.difference_low, text.difference_high), f"{name}, minus the base model's"
    yield Figure("text_loss_difference", name, text.difference, "general", None, text.n, *ends)


def _bench(record: BenchRecord) -> Iterator[Figure]:
    several = len(record.rows) > 1
    for row in record.rows:
        end, of = (f".{_key_part(row.name)}", f" ({row.name})") if several else ("", "")
        for key, name, value, n in (
            ("latency_p50_s", "seconds for one question, median", row.latency_p50_s, row.latency_n),
            (
                "latency_p95_s",
                "seconds for one question, 95th percentile",
                row.latency_p95_s,
                row.latency_n,
            ),
            ("questions_per_s", "questions a second", row.questions_per_s, None),
            ("peak_memory_bytes", "bytes of memory", float(row.peak_memory_bytes), None),
        ):
            yield Figure(f"{key}{end}", f"{name}{of}", value, "bench", n=n)


def _share(
    key: str, name: str, share: Proportion, record: EvidenceKind, on: str | None = None
) -> Figure:
    return Figure(key, name, share.value, record, on, share.n, share.low, share.high)


def _key_part(text: str) -> str:
    """Convert a name to a part of a key."""
    return slugify(text).lower().replace("-", "_")
