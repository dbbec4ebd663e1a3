"""Print audits of training batches."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from medtune.batch_audit.schema import AuditFinding, AuditRecord
from medtune.cli.output.console import prints

_INDENT = 4
_STYLES = {"serious": "bold red", "warning": "bold yellow"}


@prints(AuditRecord)
def show_audit(console: Console, record: AuditRecord) -> None:
    """Print the counts and every finding with its example and remedy."""
    console.print(Text(f"{record.source}, tokenizer {record.tokenizer}"))
    console.print(Text(record.summary))
    for note in record.notes:
        console.print(Text(f"! {note}"))
    for finding in record.findings:
        console.print()
        _show_finding(console, finding)
    if not record.findings:
        console.print()
        console.print(Text("no finding; the first example, what is supervised between ⟦ and ⟧:"))
        console.print(Padding(Text(record.sample), (0, 0, 0, _INDENT)))


def _show_finding(console: Console, finding: AuditFinding) -> None:
    head = Text.assemble(
        (finding.severity, _STYLES[finding.severity]),
        "  ",
        (finding.code, "bold"),
        f"  {finding.count:,} of {finding.of:,} {finding.unit}",
    )
    console.print(head)
    shown = finding.example.replace("\n", "↵")
    for line in (finding.message, f"{finding.place}: {shown}", f"to do: {finding.remedy}"):
        console.print(Padding(Text(line), (0, 0, 0, _INDENT)))
