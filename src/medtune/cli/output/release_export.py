"""Print exports."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import prints
from medtune.releases.export.schema import ExportRecord, MlflowRecord, PushRecord

GATE_STATUS = {
    "passed": ("passed the gate", "green"),
    "refused": ("refused by the gate", "red"),
    "not asked": ("the gate was not asked", "red"),
}


@prints(ExportRecord)
def show_export(console: Console, record: ExportRecord) -> None:
    """Print the exported files and their folder."""
    texts = "with questions' texts" if record.texts else "without questions' texts"
    console.print(
        f"{record.name}: {record.files} files, {record.size_bytes / 1e6:,.1f} MB, {texts}, in "
        f"{record.folder}"
    )
    words, style = GATE_STATUS[record.standing]
    console.print(Text(words, style=style))
    if record.no_hub_result is not None:
        console.print(f"no result for the Hub's leaderboards: {record.no_hub_result}")
    for name in record.changed:
        console.print(f"{name} is not byte by byte as released: it names the base as the Hub does")


@prints(MlflowRecord)
def show_mlflow(console: Console, record: MlflowRecord) -> None:
    """Print the registered MLflow version."""
    what = "new" if record.made else "there already"
    called = f", {', '.join(record.aliases)}" if record.aliases else ""
    console.print(
        f"{record.name}: version {record.version} of {record.model} ({what}){called}, "
        f"run {record.run_id}, {record.metrics} numbers"
    )


@prints(PushRecord)
def show_push(console: Console, record: PushRecord) -> None:
    """Print the pushed files and the page of their commit."""
    texts = "with questions' texts" if record.texts else "without questions' texts"
    access = "private" if record.private else "public"
    console.print(
        f"{record.name}: {record.files} files, {record.size_bytes / 1e6:,.1f} MB, {texts}, in "
        f"hub:{record.repository}@{record.revision} ({access})"
    )
    console.print(Text(record.url), soft_wrap=True)
