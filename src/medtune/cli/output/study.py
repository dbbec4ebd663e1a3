"""Print studies."""

from __future__ import annotations

from importlib import import_module

from rich.console import Console

from medtune.cli.output.console import lay_out, prints
from medtune.core.records import Record
from medtune.studies.ablation.schema import AblationRecord
from medtune.studies.decoding.schema import DecodingRecord
from medtune.studies.grid_schema import GridState
from medtune.studies.learning_curve.schema import LearningCurveRecord
from medtune.studies.open_book.schema import OpenBookRecord
from medtune.studies.prompts.schema import PromptStudyRecord
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.studies.test_size.schema import SampleSizeRecord


@prints(
    AblationRecord,
    DecodingRecord,
    LearningCurveRecord,
    OpenBookRecord,
    PromptStudyRecord,
    RobustnessRecord,
    SampleSizeRecord,
)
def show_study(console: Console, record: Record) -> None:
    """Print a study as the page beside its schema summarizes it."""
    # Imported when needed: it draws figures as well.
    page = import_module(type(record).__module__.removesuffix("schema") + "page")
    for part in page.summarize(record):
        console.print(part if isinstance(part, str) else lay_out(part))


@prints(GridState)
def show_grid(console: Console, record: GridState) -> None:
    """Print the progress of a study."""
    console.print(
        f"{record.study}: {record.done} of {record.cells} cells are done, {record.fresh} of them "
        f"now; left: {', '.join(record.left)}"
    )
    console.print("run the other shards, then this command once more for the report")
