"""Print analyses and mixtures."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.analysis.open_book import open_book_note
from medtune.cli.output.console import create_plain_table, prints
from medtune.cli.output.table import PlainTable
from medtune.core.schemas.analysis import (
    AnalysisRecord,
    CalibrationError,
    SelectivePrediction,
    SimilarityReport,
)
from medtune.core.schemas.mixture import MixtureRecord
from medtune.reports.result_table import format_percent_interval


@prints(AnalysisRecord)
def show_analysis(console: Console, record: AnalysisRecord) -> None:
    """Print an analysis: slices, calibration, failures, selective prediction."""
    exam = record.evaluation
    console.print(
        f"{exam.data.source} · {exam.method} · {exam.label}: "
        f"{format_percent_interval(exam.accuracy)}, n = {exam.accuracy.n:,}"
    )
    for line in record.warnings:
        console.print(f"! {line}")
    if note := open_book_note(exam):
        console.print(note)
    console.print()
    console.print(_slice_table(record))
    if record.calibration is not None:
        c = record.calibration
        console.print(
            f"\ncalibration error {_format_calibration_error(c)}, Brier {c.brier:.3f}, log "
            f"loss {c.log_loss:.3f} nats"
        )
    if record.selective is not None:
        _print_selective(console, record.selective)
    if record.flips is not None:
        f = record.flips
        console.print(
            f"order of the options: {format_percent_interval(f.any)} of the answers change, n "
            f"= {f.any.n:,}"
        )
    if record.similarity is not None:
        _print_similarity(console, record.similarity)
    if record.failures:
        console.print()
        table = create_plain_table(("failures",), ("of all failures",), texts=("what counts",))
        for failure in record.failures:
            table.add_row(failure.name, failure.explanation, format_percent_interval(failure.share))
        console.print(table)
    if record.weak_subjects:
        console.print(f"\nweak after Holm's correction: {', '.join(record.weak_subjects)}")


def _format_calibration_error(found: CalibrationError) -> str:
    """Format a calibration error with its interval and that of a perfect model."""
    text = f"{100 * found.error:.1f} points"
    if found.error_low is None or found.error_high is None or found.perfect_high is None:
        return text
    return (
        f"{text} ({100 * found.error_low:.1f}-{100 * found.error_high:.1f}; a perfect model shows "
        f"up to {100 * found.perfect_high:.1f} on so many questions)"
    )


def _slice_table(record: AnalysisRecord) -> PlainTable:
    table = create_plain_table(("by", "questions"), ("n", "correct", "rest %", "p (Holm)"))
    for part in record.slices:
        if part.dimension == "topic":
            continue  # hundreds of lines; the page lists them
        table.add_row(
            part.dimension,
            part.name,
            f"{part.accuracy.n:,}",
            format_percent_interval(part.accuracy),
            f"{100 * part.rest.value:.1f}" if part.rest else "-",
            "-" if part.p_holm is None else f"{part.p_holm:.4f}",
        )
    return table


def _print_similarity(console: Console, found: SimilarityReport) -> None:
    console.print()
    table = create_plain_table(("by similarity to the nearest passage",), ("n", "correct"))
    for part in found.bins:
        name = f"{100 * part.low:.0f}-{100 * part.high:.0f} % of the words shared"
        table.add_row(name, f"{part.accuracy.n:,}", format_percent_interval(part.accuracy))
    rest = found.less_similar
    if rest is not None:
        table.add_row(
            "without the most similar tenth", f"{rest.n:,}", format_percent_interval(rest)
        )
    console.print(table)


def _print_selective(console: Console, found: SelectivePrediction) -> None:
    console.print(
        f"risk-coverage: area {found.curve.area:.3f} (the best order of these answers: "
        f"{found.curve.best:.3f})"
    )
    if found.temperature is None:
        console.print("no calibration questions: no temperature, threshold or prediction set")
        return
    console.print(
        f"temperature {found.temperature:.2f}, fitted on {found.calibrated_n:,} questions of "
        f"{found.calibrated_on}"
    )
    if found.after is not None:
        console.print(
            f"calibration error at that temperature {_format_calibration_error(found.after)}"
        )
    for one in found.thresholds:
        if one.found is None or one.answered is None:
            text = one.missing_reason
        else:
            risk = format_percent_interval(one.risk) if one.risk else "none answered"
            text = (
                f"answer from {100 * one.found.confidence:.1f} % on: answers "
                f"{format_percent_interval(one.answered)}, wrong among them {risk}"
            )
        console.print(f"risk of at most {100 * one.target:.0f} %: {text}")
    for sets in found.sets:
        console.print(
            f"{sets.score} sets for {100 * sets.level:.0f} %: contain the answer in "
            f"{format_percent_interval(sets.coverage)}, {sets.size:.2f} options on average"
        )


@prints(MixtureRecord)
def show_mixture(console: Console, record: MixtureRecord) -> None:
    """Print a mixture: weights, log loss on the calibration questions, comparisons."""
    table = create_plain_table(("model",), ("weight", "log loss", "correct"))
    accuracies = [comparison.accuracy_a for comparison in record.comparisons]
    for at, parent in enumerate(record.parents):
        correct = format_percent_interval(accuracies[at]) if accuracies else "-"
        table.add_row(parent.label, f"{parent.weight:.2f}", f"{parent.log_loss:.3f}", correct)
    mixed = record.evaluation
    correct = format_percent_interval(mixed.accuracy) if mixed is not None else "-"
    table.add_row("mixture", "", f"{record.log_loss:.3f}", correct)
    console.print(table)
    console.print(
        f"weights and log loss: {record.n:,} questions of {record.calibration.source}, "
        "never to be reported on"
    )
    if mixed is not None:
        console.print(f"correct: {mixed.data.source}, n = {mixed.counts.n:,}")
    for comparison in record.comparisons:
        style = (
            "" if comparison.p_value >= 0.05 else "green" if comparison.difference > 0 else "red"
        )
        console.print(Text(comparison.verdict, style=style))
    for note in dict.fromkeys(
        note for comparison in record.comparisons for note in comparison.notes
    ):
        console.print(Text(f"! {note}"))
