"""Print parity gates and benchmarks."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import lay_out, prints
from medtune.core.schemas.compression import BenchRecord, ParityRecord


@prints(ParityRecord)
def show_parity(console: Console, record: ParityRecord) -> None:
    """Print every candidate with the original, and budget violations last."""
    from medtune.reports.parity import parity_table

    console.print(lay_out(parity_table(record)))
    original = record.reference
    console.print(f"{original.data.source} · {original.method}, n = {original.counts.n:,}")
    for row in record.rows:
        text = f"{row.name}: " + ("fit" if row.meets_budget else "unfit: " + "; ".join(row.broken))
        console.print(Text(text, style="green" if row.meets_budget else "red"))


@prints(BenchRecord)
def show_bench(console: Console, record: BenchRecord) -> None:
    """Print a benchmark of models."""
    from medtune.reports.bench import bench_table

    console.print(lay_out(bench_table(record)))
    console.print(
        f"{record.data.source} · {record.method}, n = {record.data.n:,}; "
        "* not beaten in speed, memory and accuracy together"
    )
