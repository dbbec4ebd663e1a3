"""The measured figures of a release, as one list for cards, MLflow and the bill of materials."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import Proportion, Record
from medtune.core.run_folder import slugify
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.compression import BenchRecord
from medtune.releases.gate_schema import Evidence, EvidenceKind, RegressionRecord


class Figure(Record):
    """A measured value."""

    key: str
    """Identifier: letters, digits, `_` and `.`."""
    name: str
    """Display name."""
    value: float
    low: float | None = None
    """Bounds of the 95 % interval; None without one."""
    high: float | None = None
    n: int | None = None
    """Number of observations."""
    on: str | None = None
    """Source of the questions."""
    record: EvidenceKind
    """The record that has the value."""


def list_figures(evidence: Evidence) -> tuple[Figure, ...]:
    """List the measured figures."""
    return tuple(_iter_figures(evidence))


def _iter_figures(evidence: Evidence) -> Iterator[Figure]:
    on = None
    if evidence.analysis is not None:
        on = evidence.analysis.evaluation.data.source
        yield from _analysis(evidence.analysis, on)
    if (paired := evidence.comparison) is not None:
        on = paired.split
        yield Figure(
            key="difference",
            name="accuracy minus the champion's",
            value=paired.difference,
            low=paired.difference_low,
            high=paired.difference_high,
            n=paired.n,
            on=paired.split,
            record="comparison",
        )
    if evidence.slices is not None:
        yield from _slices(evidence.slices, on)
    if evidence.regression is not None:
        yield from _regression(evidence.regression)
    if (served := evidence.served) is not None:
        yield _share("served_agreement", "endpoint chooses as offline", served.agreement, "served")
        for key, name, value in (
            ("served_mean_drift", "endpoint, mean drift in nats", served.mean_drift),
            ("served_max_drift", "endpoint, largest drift in nats", served.max_drift),
        ):
            high = served.drift_high if key == "served_mean_drift" else None
            n = served.agreement.n
            yield Figure(key=key, name=name, value=value, high=high, n=n, record="served")
    for row in evidence.packed.rows if evidence.packed else ():
        name = f"packed as {row.name}, chooses as what it was packed from"
        yield _share(f"packed_agreement.{_key_part(row.name)}", name, row.agreement, "packed")
    if evidence.bench is not None:
        yield from _bench(evidence.bench)
    for figure in evidence.safety.figures if evidence.safety else ():
        if figure.half == "held":
            key, name = f"guards.{_key_part(figure.measure)}", f"guards, {figure.measure}"
            yield _share(key, name, figure.rate, "safety", "held-out half of the guards' suites")


def _analysis(record: AnalysisRecord, on: str) -> Iterator[Figure]:
    exam = record.evaluation
    yield _share("accuracy", "accuracy", exam.accuracy, "analysis", on)
    yield _share("answer_rate", "answered", exam.answer_rate, "analysis", on)
    yield _share(
        "majority",
        f"accuracy of always answering {exam.majority_letter}",
        exam.majority,
        "analysis",
        on,
    )
    if exam.options_only is not None:
        name = "accuracy without the stem"
        yield _share("options_only", name, exam.options_only, "analysis", on)
    if record.flips is not None:
        name = "answers that depend on the order of options"
        yield _share("order_flips", name, record.flips.any, "analysis", on)
    after = record.selective.after if record.selective else None
    for key, what, found in (("", "", record.calibration), ("_after", " after temperature", after)):
        if found is not None:
            error = "calibration error", found.error, found.error_low, found.error_high
            for measure, (name, value, low, high) in (
                ("calibration_error", error),
                ("brier", ("Brier score", found.brier, None, None)),
            ):
                yield Figure(
                    key=f"{measure}{key}",
                    name=f"{name}{what}",
                    value=value,
                    low=low,
                    high=high,
                    n=exam.counts.n,
                    on=on,
                    record="analysis",
                )


def _slices(record: PairedSlices, on: str | None) -> Iterator[Figure]:
    for part in record.slices:
        if (part.dimension, part.name) == ("negation", "negated"):
            yield Figure(
                key="difference_negated",
                name="accuracy minus the champion's, negated questions",
                value=part.difference,
                low=part.difference_low,
                high=part.difference_high,
                n=part.accuracy_b.n,
                on=on,
                record="slices",
            )


def _regression(record: RegressionRecord) -> Iterator[Figure]:
    on = record.suite.source
    name = "accuracy on the frozen suite"
    yield _share("suite_accuracy", name, record.accuracy, "regression", on)
    if record.lost is not None:
        name = "frozen suite: the champion has right, this one wrong"
        yield _share("suite_lost", name, record.lost, "regression", on)


def _bench(record: BenchRecord) -> Iterator[Figure]:
    several = len(record.rows) > 1
    for row in record.rows:
        end, of = (f".{_key_part(row.name)}", f" ({row.name})") if several else ("", "")
        for key, name, value, n in (
            ("latency_p50_s", "seconds for one question, median", row.latency_p50_s, row.latency_n),
            ("latency_p95_s", "seconds, 95 of 100", row.latency_p95_s, row.latency_n),
            ("questions_per_s", "questions a second", row.questions_per_s, None),
            ("peak_memory_bytes", "bytes of memory", float(row.peak_memory_bytes), None),
        ):
            yield Figure(key=f"{key}{end}", name=f"{name}{of}", value=value, n=n, record="bench")


def _share(
    key: str, name: str, share: Proportion, record: EvidenceKind, on: str | None = None
) -> Figure:
    return Figure(
        key=key,
        name=name,
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        on=on,
        record=record,
    )


def _key_part(text: str) -> str:
    """Convert a name to a part of a key."""
    return slugify(text).lower().replace("-", "_")
