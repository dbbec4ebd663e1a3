"""Print exported evaluations."""

from __future__ import annotations

from rich.console import Console

from medtune.cli.output.console import prints
from medtune.publishing.schema import EvaluationExport


@prints(EvaluationExport)
def show_evaluation_export(console: Console, record: EvaluationExport) -> None:
    """Print the written files of an exported evaluation."""
    texts = "with questions' texts" if record.texts else "without questions' texts"
    console.print(f"{record.folder}: {record.n:,} questions as {record.format}, {texts}")
    for path in record.files:
        console.print(path)
