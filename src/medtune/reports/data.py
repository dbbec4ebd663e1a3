"""The data of a run as a page, and as a section of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.dataset import LENGTH_BINS, SnapshotManifest, SplitRecord, short_name
from medtune.reports.figures import bars_figure
from medtune.reports.templating import render

SHOWN_SUBJECTS = 25


@dataclass(frozen=True, slots=True)
class DataFigures:
    """SVG texts."""

    subjects: str
    """Empty where every subject has the same share."""
    subjects_equal: int
    """How many subjects have the same share of each split; 0 where they do not."""
    subjects_left_out: int
    """How many subjects were too rare to be drawn."""
    letters: str
    lengths: str


@dataclass(frozen=True, slots=True)
class CountRow:
    """One line of a table of counts."""

    name: str
    values: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class CountTable:
    """Counts by name and source; None where a source has none."""

    columns: tuple[str, ...]
    rows: tuple[CountRow, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence at the top of the page."""

    kind: str
    """"" for good news, "none" for neutral, "worse" for bad."""
    text: str


def write_data_page(path: Path, manifest: SnapshotManifest) -> None:
    """Write the page.

    Raises:
        FolderError: The page cannot be written.
    """
    page = render("data.html", findings=findings(manifest), **data_section(manifest))
    write_text(path, page)


def data_section(manifest: SnapshotManifest) -> dict[str, object]:
    """Give the data section of a page what it needs."""
    return {
        "data": manifest,
        "data_figures": _figures(manifest.splits),
        "data_tables": {
            "excluded": _table(_excluded(manifest)),
            "normalised": _table({s.source: s.normalised for s in manifest.sources}),
        },
    }


def findings(manifest: SnapshotManifest) -> list[Finding]:
    """Say in sentences what a reader must know first."""
    source = manifest.sources[0].source
    train = short_name(source)
    others = ", ".join(
        f"{split.description.n:,} {split.role}"
        + (f" ({short_name(split.description.source)})" if split.role == "evaluated" else "")
        for split in manifest.splits[1:]
    )
    what = f"{manifest.train.description.n:,} questions of {train} to train on; {others}."
    lines = [Finding("none", what)]
    for count in manifest.overlap:
        if count.source != source and count.among == source:
            found, name = count.exact + count.near, short_name(count.source)
            share = f"{100 * count.share.value:.2f} %"
            lines.append(
                Finding(
                    "",
                    f"{found:,} of {count.share.n:,} questions of {name} ({share}) "
                    f"stood in {train} too: their like was removed from train.",
                )
                if found
                else Finding("", f"No question of {name} stands in {train}.")
            )
        elif count.source == count.among != source and count.conflicts:
            lines.append(
                Finding(
                    "worse",
                    f"{short_name(count.source)} repeats {count.conflicts:,} of its own questions "
                    "with another right answer; they stay, and put a ceiling on accuracy.",
                )
            )
    return lines


def _figures(splits: Sequence[SplitRecord]) -> DataFigures:
    names = [
        split.role
        if split.role != "evaluated"
        else f"evaluated · {short_name(split.description.source)}"
        for split in splits
    ]
    profiles = [split.profile for split in splits]
    subjects = _shares([profile.subjects for profile in profiles])
    frequent = sorted(subjects, key=lambda name: -max(subjects[name]))[:SHOWN_SUBJECTS]
    letters = _shares([profile.letters for profile in profiles])
    lengths = _shares([dict(zip(LENGTH_BINS, p.lengths, strict=True)) for p in profiles])
    # One sentence says as much as bars of one length.
    equal = len(subjects) > 1 and len(set(map(tuple, subjects.values()))) == 1
    drawn = bars_figure({name: subjects[name] for name in frequent}, names, lying=True)
    return DataFigures(
        subjects="" if equal else drawn,
        subjects_equal=len(subjects) if equal else 0,
        subjects_left_out=len(subjects) - len(frequent),
        letters=bars_figure(dict(sorted(letters.items())), names),
        lengths=bars_figure(lengths, names, xlabel="characters"),
    )


def _shares(counts: Sequence[Mapping[str, int]]) -> dict[str, list[float]]:
    """Turn counts per split into per cent of the split, by name."""
    totals = [sum(count.values()) for count in counts]
    names = dict.fromkeys(name for count in counts for name in count)
    return {
        name: [
            100 * count.get(name, 0) / total if total else 0.0
            for count, total in zip(counts, totals, strict=True)
        ]
        for name in names
    }


def _excluded(manifest: SnapshotManifest) -> dict[str, dict[str, int]]:
    splits = [split for split in manifest.splits if split.role in ("train", "evaluated")]
    return {split.description.source: split.description.excluded for split in splits}


def _table(by_source: Mapping[str, Mapping[str, int]]) -> CountTable:
    names = dict.fromkeys(name for counts in by_source.values() for name in counts)
    rows = (CountRow(name, tuple(c.get(name) for c in by_source.values())) for name in names)
    return CountTable(tuple(map(short_name, by_source)), tuple(rows))
