"""Print releases, gates and updates."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.core.records import LETTERS
from medtune.releases.gate_schema import Difference, EvidenceRecord, GateRecord, Suite
from medtune.releases.schema import ReleaseList, ReleaseLog, Verification
from medtune.releases.update_schema import UpdateRecord

HASH_LENGTH = 64
"""Hex digits of a sha256."""
STYLES = {"passed": "green", "failed": "red", "missing": "red", "waived": "yellow"}


@prints(ReleaseList)
def show_releases(console: Console, record: ReleaseList) -> None:
    """Print all releases."""
    if not record.releases:
        console.print("no releases")
        return
    table = create_plain_table(("release", "id", "base"), ("scheme", "made", "is"))
    for row in record.releases:
        table.add_row(
            row.name,
            row.id[:12],
            row.base,
            row.scheme or "-",
            f"{row.created:%Y-%m-%d %H:%M}",
            ", ".join(row.aliases) or "-",
        )
    console.print(table)


@prints(ReleaseLog)
def show_log(console: Console, record: ReleaseLog) -> None:
    """Print the release log, one action per line with its details."""
    for line in record.lines:
        about = {k: _format_value(record, v) for k, v in line.detail.items() if v is not None}
        words = ", ".join(f"{k} {v}" for k, v in about.items())
        of = record.names.get(line.subject, line.subject[:12])
        console.print(Text(f"{line.time:%Y-%m-%d %H:%M} {line.actor}: {line.action} {of}"))
        if words:
            console.print(Text(f"  {words}", style="dim"))


def _format_value(record: ReleaseLog, value: object) -> str:
    """Format a release by its name, and a hash by its first digits."""
    text = str(value)
    return record.names.get(text, text[:12] if len(text) == HASH_LENGTH else text)


@prints(Verification)
def show_verification(console: Console, record: Verification) -> None:
    """Print the verification of a release."""
    rate = record.size_bytes / max(record.duration_s, 1e-9) / 1e6
    console.print(
        f"{record.name}: {record.files} files, {record.size_bytes / 1e6:,.1f} MB, {rate:,.0f} MB/s"
    )
    for fault in record.faults or ("whole",):
        console.print(Text(fault, style="red" if record.faults else "green"))


@prints(Difference)
def show_difference(console: Console, record: Difference) -> None:
    """Print the difference of two releases."""
    table = create_plain_table(("", record.a, record.b))
    for name, (a, b) in record.fields.items():
        table.add_row(name, a, b)
    for path, change in record.files.items():
        table.add_row(path, "", change)
    console.print(table)
    if record.answers is None:
        console.print(f"{record.b} was not compared with {record.a}")
        return
    console.print(f"{len(record.answers)} frozen questions are answered differently")
    for one in record.answers:
        chosen = (_format_choice(one.before), _format_choice(one.after))
        console.print(
            Text(f"{' -> '.join(chosen)}, right is {_format_choice(one.answer)}: {one.stem}")
        )


@prints(Suite)
def show_suite(console: Console, record: Suite) -> None:
    """Print a frozen question suite."""
    console.print(f"{record.n:,} questions of {record.source} are frozen ({record.hash[:12]})")


@prints(EvidenceRecord)
def show_evidence(console: Console, record: EvidenceRecord) -> None:
    """Print the evidence of a release."""
    beside = f"beside {record.champion[:12]}" if record.champion else "with no champion beside it"
    console.print(f"{record.candidate[:12]} {beside}: {', '.join(record.records)}")


@prints(GateRecord)
def show_gate(console: Console, record: GateRecord) -> None:
    """Print the verdict of the gate, rule by rule."""
    table = create_plain_table(("rule", "verdict"), ("figure", "bound", "end", "n"))
    for result in record.results:
        table.add_row(
            result.rule,
            Text(result.outcome, style=STYLES[result.outcome]),
            "-" if result.figure is None else f"{result.figure:.4g}",
            "-" if result.bound is None else f"{result.bound:.4g}",
            result.end or "-",
            "-" if result.n is None else f"{result.n:,}",
        )
    console.print(table)
    for result in record.results:
        waiver = result.waiver
        by = f" (waived by {waiver.name}: {waiver.reason})" if waiver else ""
        console.print(f"{result.rule}: {result.reason}{by}")
    if record.bound is not None and record.bound.looks:
        looks = record.bound.looks
        console.print(
            f"evaluation {len(looks)} of these weights; sets of questions until then: "
            f"{record.bound.distinct_data_sets}"
        )


@prints(UpdateRecord)
def show_update(console: Console, record: UpdateRecord) -> None:
    """Print the result of an update."""
    change = record.change
    if not record.is_new:
        console.print("nothing is new")
    console.print(
        f"data: {change.n_after:,} questions; {change.added:,} new, {change.removed:,} gone, "
        f"{change.edited:,} edited"
    )
    for subject, n in change.subjects.items():
        console.print(f"  {subject}: {n:+,}")
    if record.verdict is not None:
        show_gate(console, record.verdict)
    console.print(f"{record.release} is {record.alias or 'refused'}")


def _format_choice(choice: int | None) -> str:
    return "none" if choice is None else LETTERS[choice]
