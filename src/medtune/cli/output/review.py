"""Print samples for review and their results."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.core.records import LETTERS, Proportion
from medtune.core.schemas.analysis import Agreement
from medtune.spotcheck.schema import SpotCheckRecord, SpotCheckSample, format_choice

MAX_LISTED = 20
"""Most misreadings and disagreements that are printed; the record lists all."""


@prints(SpotCheckSample)
def show_sample(console: Console, sample: SpotCheckSample) -> None:
    """Print the counts of a sample only, as the reader may be a reviewer."""
    table = create_plain_table(("read as",), ("outputs", "drawn"))
    for stratum in sample.strata:
        table.add_row(stratum.name, f"{stratum.size:,}", f"{stratum.drawn:,}")
    console.print(table)
    console.print(
        f"{sample.n} of {sample.population:,} outputs, seed {sample.seed}, "
        f"parser version {sample.parser}"
    )


@prints(SpotCheckRecord)
def show_review(console: Console, record: SpotCheckRecord) -> None:
    """Print the matchers' precision and recall, the corrected accuracy, and the agreement."""
    table = create_plain_table(
        ("by", "matcher"), ("precision %", "recall %", "wrongly credited %", "wrongly denied %")
    )
    for score in record.scores:
        for matcher in score.matchers:
            table.add_row(
                score.reviewer,
                matcher.matcher,
                _format_percent(matcher.precision),
                _format_percent(matcher.recall),
                _format_percent(matcher.credited_wrongly),
                _format_percent(matcher.denied_wrongly),
            )
    console.print(table)
    console.print()
    accuracy = create_plain_table(
        ("by", "model", "questions"), ("parsed %", "reviewed %", "marked")
    )
    for score in record.scores:
        for row in score.accuracy:
            accuracy.add_row(
                score.reviewer,
                row.label,
                row.source,
                _format_percent(row.parsed),
                _format_percent(row.reviewed),
                str(row.reviewed.n),
            )
    console.print(accuracy)
    for agreement in record.agreements:
        console.print()
        console.print(Text(_format_agreement(agreement)))
    _print_list(
        console,
        "disagree",
        [
            f"{each.item}: "
            + ", ".join(f"{name} {format_choice(said)}" for name, said in each.choices.items())
            + (" (settled)" if each.settled else "")
            for each in record.disagreements
        ],
    )
    _print_list(
        console,
        "misread",
        [
            f"{each.item}: {'nothing' if each.chosen is None else LETTERS[each.chosen]} "
            f"({each.reason}), {each.reviewer} {format_choice(each.choice)}"
            for each in record.misreadings
        ],
    )
    for warning in record.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))


def _format_agreement(agreement: Agreement) -> str:
    start = f"{agreement.a} and {agreement.b}: "
    if agreement.observed is not None:
        start += f"{_format_percent(agreement.observed)} % marked alike of {agreement.n}, "
    if agreement.kappa is None or agreement.low is None or agreement.high is None:
        return f"{start}kappa is not defined: {agreement.reason}"
    return f"{start}kappa {agreement.kappa:.2f} ({agreement.low:.2f} to {agreement.high:.2f})"


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print()
    for line in lines[:MAX_LISTED]:
        console.print(Text(f"{title}: {line}"))
    if len(lines) > MAX_LISTED:
        console.print(f"{title}: {len(lines) - MAX_LISTED} more in review.json")


def _format_percent(value: Proportion | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}-{100 * value.high:.1f})"
