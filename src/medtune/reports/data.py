"""Write the data page of a run, and the data section of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.dataset import (
    LENGTH_BINS,
    SnapshotManifest,
    SplitRecord,
    short_source_name,
)
from medtune.reports.figures import plot_bars
from medtune.reports.templating import render_page

SHOWN_SUBJECTS = 25


@dataclass(frozen=True, slots=True)
class DataFigures:
    """Figures as SVG text."""

    subjects: str
    """Empty if every subject has the same share."""
    subjects_equal: int
    """Number of subjects if all have the same share of each split, else 0."""
    subjects_left_out: int
    """Number of rare subjects that are not drawn."""
    letters: str
    lengths: str


@dataclass(frozen=True, slots=True)
class CountRow:
    """One line of a table of counts."""

    name: str
    values: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class CountTable:
    """Counts by name and source; None if a source has none."""

    columns: tuple[str, ...]
    rows: tuple[CountRow, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence at the top of the page."""

    kind: str
    """"" for good news, "none" for neutral, "worse" for bad."""
    text: str


def write_data_page(path: Path, manifest: SnapshotManifest) -> None:
    """Write the data page.

    Raises:
        FolderError: The page cannot be written.
    """
    page = render_page(
        "data.html", findings=summarize_data(manifest), **build_data_section(manifest)
    )
    write_text(path, page)


def build_data_section(manifest: SnapshotManifest) -> dict[str, object]:
    """Return the template values of the data section."""
    return {
        "data": manifest,
        "data_figures": _draw_figures(manifest.splits),
        "data_tables": {
            "excluded": _count_table(_exclusion_counts(manifest)),
            "normalised": _count_table({s.source: s.normalised for s in manifest.sources}),
        },
    }


def summarize_data(manifest: SnapshotManifest) -> list[Headline]:
    """Return the main findings as sentences."""
    source = manifest.sources[0].source
    train = short_source_name(source)
    others = ", ".join(
        f"{split.description.n:,} {split.role}"
        + (f" ({short_source_name(split.description.source)})" if split.role == "evaluated" else "")
        for split in manifest.splits[1:]
    )
    what = f"{manifest.train_split.description.n:,} questions of {train} to train on; {others}."
    lines = [Headline("none", what)]
    for count in manifest.overlap:
        if count.source != source and count.among == source:
            found, name = count.exact + count.near, short_source_name(count.source)
            share = f"{100 * count.share.value:.2f} %"
            lines.append(
                Headline(
                    "",
                    f"{found:,} of {count.share.n:,} questions of {name} ({share}) "
                    f"are also in {train}: their duplicates were removed from train.",
                )
                if found
                else Headline("", f"No question of {name} is also in {train}.")
            )
        elif count.source == count.among != source and count.conflicts:
            lines.append(
                Headline(
                    "worse",
                    f"{short_source_name(count.source)} repeats {count.conflicts:,} of its own "
                    "questions with another right answer; they are kept, and limit the "
                    "accuracy that any model can reach.",
                )
            )
    return lines


def _draw_figures(splits: Sequence[SplitRecord]) -> DataFigures:
    names = [
        split.role
        if split.role != "evaluated"
        else f"evaluated · {short_source_name(split.description.source)}"
        for split in splits
    ]
    profiles = [split.profile for split in splits]
    subjects = _percent_by_split([profile.subjects for profile in profiles])
    frequent = sorted(subjects, key=lambda name: -max(subjects[name]))[:SHOWN_SUBJECTS]
    letters = _percent_by_split([profile.letters for profile in profiles])
    lengths = _percent_by_split([dict(zip(LENGTH_BINS, p.lengths, strict=True)) for p in profiles])
    # Bars of equal length are replaced by a sentence.
    equal = len(subjects) > 1 and len(set(map(tuple, subjects.values()))) == 1
    drawn = plot_bars({name: subjects[name] for name in frequent}, names, lying=True)
    return DataFigures(
        subjects="" if equal else drawn,
        subjects_equal=len(subjects) if equal else 0,
        subjects_left_out=len(subjects) - len(frequent),
        letters=plot_bars(dict(sorted(letters.items())), names),
        lengths=plot_bars(lengths, names, xlabel="characters"),
    )


def _percent_by_split(counts: Sequence[Mapping[str, int]]) -> dict[str, list[float]]:
    """Convert counts per split to per cent of the split, by name."""
    totals = [sum(count.values()) for count in counts]
    names = dict.fromkeys(name for count in counts for name in count)
    return {
        name: [
            100 * count.get(name, 0) / total if total else 0.0
            for count, total in zip(counts, totals, strict=True)
        ]
        for name in names
    }


def _exclusion_counts(manifest: SnapshotManifest) -> dict[str, dict[str, int]]:
    splits = [split for split in manifest.splits if split.role in ("train", "evaluated")]
    return {split.description.source: split.description.excluded for split in splits}


def _count_table(by_source: Mapping[str, Mapping[str, int]]) -> CountTable:
    names = dict.fromkeys(name for counts in by_source.values() for name in counts)
    rows = (CountRow(name, tuple(c.get(name) for c in by_source.values())) for name in names)
    return CountTable(tuple(map(short_source_name, by_source)), tuple(rows))
