"""How releases look."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import plain_table
from medtune.core.records import LETTERS
from medtune.releases.gate_schema import Difference, EvidenceRecord, GateRecord, Suite
from medtune.releases.schema import ReleaseList, ReleaseLog, Verification
from medtune.releases.update_schema import UpdateRecord

HASH = 64
"""Digits of a sha256."""
STYLES = {"passed": "green", "failed": "red", "missing": "red", "waived": "yellow"}


def show_releases(console: Console, record: ReleaseList) -> None:
    """Print all releases."""
    if not record.releases:
        console.print("no releases")
        return
    table = plain_table(("release", "id", "base"), ("scheme", "made", "is"))
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


def show_log(console: Console, record: ReleaseLog) -> None:
    """Print what was done, one deed a line, with what the log knows of it."""
    for line in record.lines:
        about = {k: _about(record, v) for k, v in line.detail.items() if v is not None}
        words = ", ".join(f"{k} {v}" for k, v in about.items())
        of = record.names.get(line.subject, line.subject[:12])
        console.print(Text(f"{line.time:%Y-%m-%d %H:%M} {line.actor}: {line.action} {of}"))
        if words:
            console.print(Text(f"  {words}", style="dim"))


def _about(record: ReleaseLog, value: object) -> str:
    """Write a release by its name, and a hash by its beginning."""
    text = str(value)
    return record.names.get(text, text[:12] if len(text) == HASH else text)


def show_verification(console: Console, record: Verification) -> None:
    """Print what reading a release again found."""
    rate = record.size_bytes / max(record.duration_s, 1e-9) / 1e6
    console.print(
        f"{record.name}: {record.files} files, {record.size_bytes / 1e6:,.1f} MB, {rate:,.0f} MB/s"
    )
    for fault in record.faults or ("whole",):
        console.print(Text(fault, style="red" if record.faults else "green"))


def show_difference(console: Console, record: Difference) -> None:
    """Print two releases side by side."""
    table = plain_table(("", record.a, record.b))
    for name, (a, b) in record.fields.items():
        table.add_row(name, a, b)
    for path, change in record.files.items():
        table.add_row(path, "", change)
    console.print(table)
    if record.answers is None:
        console.print(f"{record.b} was not examined beside {record.a}")
        return
    console.print(f"{len(record.answers)} frozen questions are answered differently")
    for one in record.answers:
        chosen = (_letter(one.before), _letter(one.after))
        console.print(Text(f"{' -> '.join(chosen)}, right is {_letter(one.answer)}: {one.stem}"))


def show_suite(console: Console, record: Suite) -> None:
    """Print what was frozen."""
    console.print(f"{record.n:,} questions of {record.source} are frozen ({record.hash[:12]})")


def show_evidence(console: Console, record: EvidenceRecord) -> None:
    """Print what was measured."""
    beside = f"beside {record.champion[:12]}" if record.champion else "with no champion beside it"
    console.print(f"{record.candidate[:12]} {beside}: {', '.join(record.records)}")


def show_gate(console: Console, record: GateRecord) -> None:
    """Print what the gate said, rule by rule."""
    table = plain_table(("rule", "verdict"), ("figure", "bound", "end", "n"))
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
            f"{record.bound.sets}"
        )


def show_update(console: Console, record: UpdateRecord) -> None:
    """Print what an update did."""
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


def _letter(choice: int | None) -> str:
    return "none" if choice is None else LETTERS[choice]
