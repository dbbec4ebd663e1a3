"""Print studies."""

from __future__ import annotations

from importlib import import_module

from rich.console import Console

from medtune.cli.output.console import lay_out
from medtune.core.records import Record
from medtune.studies.grid_schema import GridState


def show_study(console: Console, record: Record) -> None:
    """Print a study as the page beside its schema summarizes it."""
    # Imported when needed: it draws figures as well.
    page = import_module(type(record).__module__.removesuffix("schema") + "page")
    for part in page.summarize(record):
        console.print(part if isinstance(part, str) else lay_out(part))


def show_grid(console: Console, record: GridState) -> None:
    """Print the progress of a study."""
    console.print(
        f"{record.study}: {record.done} of {record.cells} cells are done, {record.fresh} of them "
        f"now; left: {', '.join(record.left)}"
    )
    console.print("run the other shards, then this command once more for the report")
