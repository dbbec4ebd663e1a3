from __future__ import annotations

import re

from medtune.core.intervals import wilson_interval
from medtune.core.schemas.dataset import (
    BalanceRecord,
    CurationStep,
    OverlapCount,
    SnapshotManifest,
)
from medtune.data.datasheet import markdown_table, overlap_table, render_snapshot_datasheet


def tables(text: str) -> list[list[list[str]]]:
    """Read the Markdown tables back: [table][row][cell]."""
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().splitlines()]
        found.append([[cell.strip() for cell in row] for row in rows])
    return found


def test_every_table_is_whole(manifest: SnapshotManifest) -> None:
    found = tables(render_snapshot_datasheet(manifest))
    assert len(found) >= 6
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
        assert set(table[1]) == {"---"}


def test_every_number_comes_from_the_manifest(manifest: SnapshotManifest) -> None:
    text = render_snapshot_datasheet(manifest)
    assert manifest.hash in text
    assert f"seed {manifest.seed}" in text
    splits, subjects, letters, lengths, sources, reasons, overlap = tables(text)
    assert [row[2] for row in splits[2:]] == ["260", "20", "40", "80", "80"]
    assert [row[-1] for row in splits[2:]] == [s.description.hash[:12] for s in manifest.splits]
    for rows, counts in (
        (subjects, [split.profile.subjects for split in manifest.splits]),
        (letters, [split.profile.letters for split in manifest.splits]),
    ):
        for name, *cells in rows[2:]:
            assert [int(cell) for cell in cells] == [count.get(name, 0) for count in counts]
    for number, row in enumerate(lengths[2:]):
        assert [int(c) for c in row[1:]] == [s.profile.lengths[number] for s in manifest.splits]
    assert [row[2] for row in sources[2:]] == ["Apache-2.0"] * 3
    assert reasons[2:] == [["cut off for calibration", "40"], ["cut off for validation", "20"]] or (
        reasons[2:] == [["cut off for validation", "20"], ["cut off for calibration", "40"]]
    )
    assert len(overlap) == 2 + len(manifest.overlap)


def test_what_only_people_know_is_asked_not_invented(manifest: SnapshotManifest) -> None:
    text = render_snapshot_datasheet(manifest)
    assert text.count("To be written by whoever publishes this snapshot") == 3
    assert "Not medical advice" in text


def test_curation_and_balance_are_told(manifest: SnapshotManifest) -> None:
    step = CurationStep(name="quality", before=1320, left_out={"stem too short": 20})
    share = BalanceRecord(
        name="ENT", available=10, drawn=5, weight=1.25, earlier=wilson_interval(3, 12), weak=True
    )
    text = render_snapshot_datasheet(
        manifest.model_copy(update={"curation": (step,), "balance": (share,)})
    )
    assert "Curation by quality left out, of 1,320: 20 × stem too short." in text
    assert "| ENT (weak) | 10 | 5 | 1.25 | 25.00 (8.89-53.23) |" in text


def test_settings_of_the_search_are_told(manifest: SnapshotManifest) -> None:
    assert "Exact and near-duplicates were searched for" in render_snapshot_datasheet(manifest)
    data = manifest.config
    overlap = data.overlap.model_copy(update={"near": False, "within_train": "keep"})
    config = data.model_copy(update={"overlap": overlap})
    text = render_snapshot_datasheet(manifest.model_copy(update={"config": config}))
    assert "Exact duplicates were searched for" in text
    assert "repetitions inside train stayed" in text


def test_overlap_is_counted_with_its_interval() -> None:
    counts = [
        OverlapCount(
            source="a",
            among="b",
            exact=1200,
            near=34,
            conflicts=5,
            share=wilson_interval(1234, 5000),
        ),
        OverlapCount(
            source="a", among="a", exact=0, near=0, conflicts=0, share=wilson_interval(0, 10)
        ),
    ]
    assert tables(overlap_table(counts))[0][2:] == [
        ["a", "b", "1,200", "34", "5", "24.68 (23.50-25.89)"],
        ["a", "itself, earlier", "0", "0", "0", "0.00 (0.00-27.75)"],
    ]


def test_bars_in_cells_are_escaped() -> None:
    assert markdown_table(("a", "b"), [("x|y", 1)]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"
