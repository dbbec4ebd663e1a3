"""How records and progress look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from medtune.core.records import (
    ComparisonRecord,
    DoctorRecord,
    EvaluationRecord,
    ModelInfo,
    ModelList,
    Proportion,
    Record,
    RunRecord,
)

GIB = 1 << 30


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: int = 1, **figures: str) -> None:
        text = "  ".join(
            value if key == "speed" else f"{key} {value}" for key, value in figures.items()
        )
        self._progress.update(self._task, advance=amount, figures=text)


class Terminal:
    """Reports progress on stderr."""

    def __init__(self) -> None:
        self._console = _console(stderr=True)

    def say(self, text: str) -> None:
        """Tell one line."""
        self._console.print(Text(text), soft_wrap=True)

    def error(self, text: str) -> None:
        """Tell what went wrong."""
        self._console.print(Text(f"error: {text}", style="bold red"), soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[_Bar]:
        """Show a bar; where stderr is no terminal, one line at the end."""
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        )
        with progress:
            yield _Bar(progress, progress.add_task(name, total=total, completed=done, figures=""))


def _console(stderr: bool) -> Console:
    """Open a console; a pipe or a log file has no width of its own and gets a wide one."""
    # Names and texts of users are shown as they are: a path may look like markup.
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 120
    return console


def show(record: Record) -> None:
    """Print a record as a table on stdout."""
    console = _console(stderr=False)
    if isinstance(record, RunRecord):
        console.print(_evaluations(record.evaluations))
        primary = record.evaluations[0].method
        for comparison in record.comparisons:
            if comparison.method == primary:
                _verdict(console, comparison)
        console.print(
            f"{record.name}: {record.duration_s:.0f} s, "
            f"peak memory {record.peak_memory_bytes / GIB:.2f} GiB"
        )
    elif isinstance(record, EvaluationRecord):
        console.print(_evaluations([record]))
    elif isinstance(record, ComparisonRecord):
        console.print(
            f"{record.split} · {record.method}: {record.a} {_percent(record.accuracy_a)}, "
            f"{record.b} {_percent(record.accuracy_b)}, n = {record.n}"
        )
        console.print(
            f"both right {record.both}, only {record.a} {record.only_a}, "
            f"only {record.b} {record.only_b}, neither {record.neither}"
        )
        _verdict(console, record)
    elif isinstance(record, ModelList):
        console.print(_models(record.models))
    else:
        console.print(_fields(record))


def _evaluations(records: tuple[EvaluationRecord, ...] | list[EvaluationRecord]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("questions", "method", "model"):
        table.add_column(name, overflow="fold")
    for name in ("correct %", "95 %", "n", "unparsed", "chance", "majority"):
        table.add_column(name, justify="right", no_wrap=True)
    ordered = sorted(range(len(records)), key=lambda i: (i % max(1, len(records) // 2), i))
    for index in ordered if len(records) > 1 else [0]:
        r = records[index]
        table.add_row(
            r.data.source,
            r.method,
            r.label,
            f"{100 * r.accuracy.value:.1f}",
            f"{100 * r.accuracy.low:.1f}-{100 * r.accuracy.high:.1f}",
            str(r.counts.n),
            str(r.counts.unparsed),
            f"{100 * r.chance:.1f}",
            f"{100 * r.majority.value:.1f} ({r.majority_letter})",
        )
    return table


def _verdict(console: Console, record: ComparisonRecord) -> None:
    style = "" if record.p_value >= 0.05 else ("green" if record.difference > 0 else "red")
    console.print(Text(f"{record.split} · {record.method}: {record.verdict}", style=style))


def _models(models: tuple[ModelInfo, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "state", "size", "where"):
        table.add_column(name, overflow="fold")
    for model in models:
        size = f"{model.size_bytes / 1e6:,.0f} MB" if model.size_bytes is not None else "-"
        table.add_row(model.name, model.state, size, model.folder or model.note)
    return table


def _fields(record: Record) -> Table:
    """Lay out a record field by field, nested records in one line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record:
        if name in ("kind", "inputs", "provenance", "audit", "losses") and not isinstance(
            record, DoctorRecord
        ):
            continue
        for label, text in _rows(name, value):
            table.add_row(label, text)
    return table


def _rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Proportion):
        yield name, f"{_percent(value)}, n = {value.n}"
    elif isinstance(value, Record):
        for inner, part in value:
            yield from _rows(f"{name}.{inner}", part)
    elif isinstance(value, tuple):
        for item in value:
            text = (
                f"{item.name}: {item.state} {item.note}"
                if isinstance(item, ModelInfo)
                else str(item)
            )
            yield name, text.strip()
    elif name.endswith("_bytes") and isinstance(value, int):
        yield name.removesuffix("_bytes"), f"{value / GIB:.2f} GiB"
    elif isinstance(value, dict):
        yield name, ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    else:
        yield name, f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: Proportion) -> str:
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"
