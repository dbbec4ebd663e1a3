"""Print mixtures."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.core.schemas.mixture import MixtureRecord
from medtune.reports.result_table import format_percent_interval


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
