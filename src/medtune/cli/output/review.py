"""How a sample for review and its result look."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import plain_table
from medtune.core.records import LETTERS, Proportion
from medtune.core.schemas.analysis import Agreement
from medtune.spotcheck.schema import ReviewRecord, ReviewSample, choice_name

MOST = 20
"""Misreadings and disagreements shown; the record holds all."""


def show_sample(console: Console, sample: ReviewSample) -> None:
    """Print what was drawn. Counts only: whoever prints it may be a reviewer."""
    table = plain_table(("read as",), ("outputs", "drawn"))
    for stratum in sample.strata:
        table.add_row(stratum.name, f"{stratum.size:,}", f"{stratum.drawn:,}")
    console.print(table)
    console.print(
        f"{sample.n} of {sample.population:,} outputs, seed {sample.seed}, "
        f"parser version {sample.parser}"
    )


def show_review(console: Console, record: ReviewRecord) -> None:
    """Print how well the matchers read, what it does to the accuracy, and the agreement."""
    table = plain_table(
        ("by", "matcher"), ("precision %", "recall %", "wrongly credited %", "wrongly denied %")
    )
    for score in record.scores:
        for matcher in score.matchers:
            table.add_row(
                score.reviewer,
                matcher.matcher,
                _percent(matcher.precision),
                _percent(matcher.recall),
                _percent(matcher.credited_wrongly),
                _percent(matcher.denied_wrongly),
            )
    console.print(table)
    console.print()
    accuracy = plain_table(("by", "model", "questions"), ("parsed %", "reviewed %", "marked"))
    for score in record.scores:
        for row in score.accuracy:
            accuracy.add_row(
                score.reviewer,
                row.label,
                row.source,
                _percent(row.parsed),
                _percent(row.reviewed),
                str(row.reviewed.n),
            )
    console.print(accuracy)
    for agreement in record.agreements:
        console.print()
        console.print(Text(_agreed(agreement)))
    _list(
        console,
        "disagree",
        [
            f"{each.item}: "
            + ", ".join(f"{name} {choice_name(said)}" for name, said in each.choices.items())
            + (" (settled)" if each.settled else "")
            for each in record.disagreements
        ],
    )
    _list(
        console,
        "misread",
        [
            f"{each.item}: {'nothing' if each.chosen is None else LETTERS[each.chosen]} "
            f"({each.reason}), {each.reviewer} {choice_name(each.choice)}"
            for each in record.misreadings
        ],
    )
    for warning in record.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))


def _agreed(agreement: Agreement) -> str:
    start = f"{agreement.a} and {agreement.b}: "
    if agreement.observed is not None:
        start += f"{_percent(agreement.observed)} % marked alike of {agreement.n}, "
    if agreement.kappa is None or agreement.low is None or agreement.high is None:
        return f"{start}kappa is not defined: {agreement.reason}"
    return f"{start}kappa {agreement.kappa:.2f} ({agreement.low:.2f} to {agreement.high:.2f})"


def _list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print()
    for line in lines[:MOST]:
        console.print(Text(f"{title}: {line}"))
    if len(lines) > MOST:
        console.print(f"{title}: {len(lines) - MOST} more in review.json")


def _percent(value: Proportion | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}-{100 * value.high:.1f})"
