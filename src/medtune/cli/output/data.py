"""Print snapshots, mapping proposals and verifications."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.cli.output.table import PlainTable
from medtune.core.experiment import ColumnMapping
from medtune.core.schemas.dataset import (
    MappingProposal,
    SnapshotManifest,
    VerificationRecord,
    short_source_name,
)

_LONGEST = 4_000
"""Characters of a question that an inspection shows."""


@prints(SnapshotManifest)
def show_manifest(console: Console, manifest: SnapshotManifest) -> None:
    """Print the splits, exclusions and overlaps of a snapshot."""
    splits = create_plain_table(("split", "questions of"), ("n", "negated", "explained", "letters"))
    for split in manifest.splits:
        letters = " ".join(f"{name} {n:,}" for name, n in split.profile.letters.items())
        splits.add_row(
            split.role,
            short_source_name(split.description.source),
            f"{split.description.n:,}",
            f"{split.profile.negated:,}",
            f"{split.profile.explained:,}",
            letters,
        )
    console.print(splits)
    excluded = {
        split.description.source: split.description.excluded
        for split in manifest.splits
        if split.description.excluded
    }
    if excluded:
        console.print()
        console.print(_count_table("left out", excluded))
    overlap = create_plain_table(
        ("overlap: questions of", "also in"), ("exact", "near", "conflicts", "%")
    )
    for count in manifest.overlap:
        if count.exact or count.near:
            overlap.add_row(
                short_source_name(count.source),
                "itself, earlier"
                if count.among == count.source
                else short_source_name(count.among),
                f"{count.exact:,}",
                f"{count.near:,}",
                f"{count.conflicts:,}",
                f"{100 * count.share.value:.2f}",
            )
    console.print()
    console.print(overlap if overlap.row_count else "no overlap found")
    for step in manifest.curation:
        reasons = ", ".join(f"{n:,} × {why}" for why, n in step.left_out.items())
        console.print(f"curation by {step.name}, of {step.before:,}: {reasons}")
    console.print(f"snapshot {manifest.hash[:12]}, seed {manifest.seed}")


@prints(MappingProposal)
def show_proposal(console: Console, proposal: MappingProposal) -> None:
    """Print a proposed mapping with its evidence and sample questions."""
    columns = create_plain_table(("column", "read as"), texts=("for instance",))
    parts: dict[str, str] = {}
    for part, value in proposal.mapping.model_dump().items():
        for name in value if isinstance(value, tuple) else (value,):
            if isinstance(name, str):
                parts.setdefault(name, part)
    for name, example in proposal.columns.items():
        columns.add_row(name, parts.get(name, "-"), example)
    console.print(columns)
    for number, question in enumerate(proposal.questions, 1):
        console.rule(Text(f"question {number}"), align="left")
        cut = f"… ({len(question):,} characters)" if len(question) > _LONGEST else ""
        console.print(Text(question[:_LONGEST] + cut))
    console.rule(Text("for the experiment"), align="left")
    console.print(Text(proposal.toml))
    if not proposal.problems and (options := _as_options(proposal.mapping)):
        console.rule(Text("for a command such as evaluate"), align="left")
        console.print(Text(options))
    for reason, count in proposal.excluded.items():
        console.print(f"left out of {proposal.rows_read:,} rows: {count:,} × {reason}")
    for problem in proposal.problems:
        console.print(Text(f"to settle by hand: {problem}", style="bold yellow"))


def _as_options(mapping: ColumnMapping) -> str:
    """Write a mapping as --map options; "" where they cannot say it."""
    plain = ColumnMapping()
    own = {k: v for k, v in mapping.model_dump().items() if v not in (getattr(plain, k), "")}
    names = [",".join(v) if isinstance(v, tuple) else str(v) for v in own.values()]
    if mapping.fixed_options or any("," in name for name in mapping.options):
        return ""
    return " ".join(f"--map {quote(f'{key}={name}')}" for key, name in zip(own, names, strict=True))


@prints(VerificationRecord)
def show_verification(console: Console, record: VerificationRecord) -> None:
    """Print the verification of a snapshot."""
    for fault in record.faults:
        console.print(Text(f"fault: {fault}", style="bold red"))
    if not record.faults:
        console.print(
            f"{record.folder}: {record.questions:,} questions, all files whole, sources "
            f"unchanged; made again it has the same hash {record.hash[:12]}"
        )


def _count_table(title: str, by_source: Mapping[str, Mapping[str, int]]) -> PlainTable:
    """Build a table of counts by name and source."""
    table = create_plain_table((title,), tuple(map(short_source_name, by_source)))
    for name in dict.fromkeys(name for counts in by_source.values() for name in counts):
        cells = (counts.get(name) for counts in by_source.values())
        table.add_row(name, *("-" if cell is None else f"{cell:,}" for cell in cells))
    return table
