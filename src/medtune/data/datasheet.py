"""Render the datasheet of a snapshot in Markdown from its manifest.

The sections are those of Gebru et al. 2018 (arXiv 1803.09010) that a manifest can answer; the
answers that only people can give are left as placeholders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from medtune.core.formatting import format_count
from medtune.core.records import Proportion
from medtune.core.schemas.dataset import LENGTH_BINS, OverlapCount, SnapshotManifest, SplitCounts

_PURPOSES = {
    "train": "train on",
    "validation": "validate training with",
    "calibration": "calibrate with",
    "evaluated": "report on",
}


def render_snapshot_datasheet(manifest: SnapshotManifest) -> str:
    """Render the datasheet of a snapshot as Markdown."""
    environment = Environment(
        autoescape=False,  # Markdown, not HTML
        undefined=StrictUndefined,
        finalize=_escape_bars,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": format_count, "share": format_with_interval}
    tables = (splits_table, subjects_table, letters_table, lengths_table, left_out_table)
    environment.globals |= {table.__name__: table for table in (*tables, overlap_table)}
    template = (files("medtune.data") / "datasheet.md").read_text(encoding="utf-8")
    return environment.from_string(template).render(m=manifest, purposes=_PURPOSES)


def _escape_bars(cell: object) -> str:
    return str(cell) if isinstance(cell, Markup) else str(cell).replace("|", "\\|")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Render a Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_escape_bars, line))} |" for line in lines)


def splits_table(manifest: SnapshotManifest) -> str:
    """Render the splits as a Markdown table."""
    return markdown_table(
        ("split", "file", "n", "negated", "explained", "median characters", "sha256"),
        [
            (
                f"{split.role}: {split.description.source}",
                split.file,
                f"{split.description.n:,}",
                f"{split.profile.negated:,}",
                f"{split.profile.explained:,}",
                split.profile.median_length,
                split.description.hash[:12],
            )
            for split in manifest.splits
        ],
    )


def subjects_table(manifest: SnapshotManifest) -> str:
    """Render the counts of questions by subject and split as a Markdown table."""
    return _counts_table(manifest, "subject", lambda counts: counts.subjects)


def letters_table(manifest: SnapshotManifest) -> str:
    """Render the counts of right answers by letter and split as a Markdown table."""
    return _counts_table(manifest, "letter", lambda counts: counts.letters)


def lengths_table(manifest: SnapshotManifest) -> str:
    """Render the histogram of lengths of every split as a Markdown table."""
    return _counts_table(
        manifest,
        "characters",
        lambda counts: dict(zip(LENGTH_BINS, counts.lengths, strict=True)),
        LENGTH_BINS,
    )


def _counts_table(
    manifest: SnapshotManifest,
    head: str,
    read: Callable[[SplitCounts], dict[str, int]],
    order: Sequence[str] = (),
) -> str:
    counts = [read(split.profile) for split in manifest.splits]
    names = order or sorted({name for some in counts for name in some})
    return markdown_table(
        (head, *(f"{split.role}: {split.description.source}" for split in manifest.splits)),
        [(name, *(f"{some.get(name, 0):,}" for some in counts)) for name in names],
    )


def left_out_table(manifest: SnapshotManifest) -> str:
    """Render the counts of questions excluded from train, by reason, as a Markdown table."""
    reasons = manifest.train_split.description.excluded
    return markdown_table(("reason", "count"), [(why, f"{n:,}") for why, n in reasons.items()])


def overlap_table(counts: Iterable[OverlapCount]) -> str:
    """Render overlap counts as a Markdown table."""
    return markdown_table(
        ("questions of", "also in", "exact", "near", "conflicting answers", "% of them (95 %)"),
        [
            (
                count.source,
                "itself, earlier" if count.among == count.source else count.among,
                f"{count.exact:,}",
                f"{count.near:,}",
                f"{count.conflicts:,}",
                format_with_interval(count.share),
            )
            for count in counts
        ],
    )


def format_with_interval(value: Proportion) -> str:
    """Format a proportion with its interval, in per cent."""
    return f"{100 * value.value:.2f} ({100 * value.low:.2f}-{100 * value.high:.2f})"
