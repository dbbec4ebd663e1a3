from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medtune.core.intervals import wilson_interval
from medtune.core.records import Question
from medtune.core.schemas.dataset import (
    BalanceRecord,
    CurationStep,
    OverlapCount,
    OverlapExample,
    SnapshotManifest,
)
from medtune.reports.data import summarize_data, write_data_page

EVIL = '<script>alert("x")</script> {{ 7 * 7 }}'


class Page(HTMLParser):
    """The text of every table cell, and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def page(manifest: SnapshotManifest, folder: Path) -> tuple[str, list[list[str]]]:
    write_data_page(folder / "data.html", manifest)
    text = (folder / "data.html").read_text()
    rows = [[" ".join(cell.split()) for cell in row] for row in Page(text).rows]
    return text, rows


def question(name: str, stem: str, answer: int = 0) -> Question:
    return Question(id=name, stem=stem, options=("iron", "zinc"), answer=answer)


@pytest.fixture
def rich(manifest: SnapshotManifest) -> SnapshotManifest:
    """A manifest in which everything happened."""
    example = OverlapExample(
        same="near",
        conflict=True,
        similarity=0.953,
        source="starter:train",
        question=question("t1", f"Which metal causes siderosis {EVIL}?"),
        among="starter:recall",
        twin=question("r1", "Which metal leads to siderosis?", 1),
    )
    counts = (
        OverlapCount(
            source="starter:recall",
            among="starter:train",
            exact=1,
            near=3,
            conflicts=1,
            share=wilson_interval(4, 80),
        ),
        OverlapCount(
            source="starter:recall",
            among="starter:recall",
            exact=2,
            near=0,
            conflicts=2,
            share=wilson_interval(2, 80),
        ),
        OverlapCount(
            source="starter:transfer",
            among="starter:train",
            exact=0,
            near=0,
            conflicts=0,
            share=wilson_interval(0, 80),
        ),
    )
    return manifest.model_copy(
        update={
            "overlap": counts,
            "examples": (example,),
            "curation": (CurationStep(name="length", before=1300, left_out={"too long": 40}),),
            "balance": (
                BalanceRecord(
                    name="ENT",
                    available=10,
                    drawn=5,
                    weight=2,
                    earlier=wilson_interval(3, 12),
                    weak=True,
                ),
            ),
        }
    )


def test_the_page_shows_every_split_beside_the_others(
    manifest: SnapshotManifest, tmp_path: Path
) -> None:
    text, rows = page(manifest, tmp_path)
    assert manifest.hash in text
    splits = [row for row in rows if row and row[0] in ("train", "validation", "calibration")]
    assert [row[2] for row in splits] == ["260", "20", "40"]
    assert [row[:3] for row in rows if row and row[0] == "evaluated"] == [
        ["evaluated", "starter:recall", "80"],
        ["evaluated", "starter:transfer", "80"],
    ]
    assert ["cut off for calibration", "40", "–", "–"] in rows
    assert text.count("<svg") == 2  # subjects of equal size are a sentence
    for split in manifest.splits:
        assert split.description.hash[:12] in text


def test_subjects_of_equal_size_are_one_sentence(
    manifest: SnapshotManifest, tmp_path: Path
) -> None:
    said = "20 subjects, with equally many questions each in every split."
    drawn = "Subjects, in per cent of each split"
    first = manifest.train_split
    alike = [split for split in manifest.splits if split.role == "evaluated"]
    assert len(alike) == 2
    assert [len(set(split.profile.subjects.values())) for split in alike] == [1, 1]
    equal, _ = page(manifest.model_copy(update={"splits": tuple(alike)}), tmp_path)
    assert said in equal
    assert drawn not in equal
    more = {name: n + (name == "Anatomy") for name, n in first.profile.subjects.items()}
    profile = first.profile.model_copy(update={"subjects": more})
    other, _ = page(
        manifest.model_copy(
            update={"splits": (*alike, first.model_copy(update={"profile": profile}))}
        ),
        tmp_path,
    )
    assert said not in other
    assert drawn in other


def test_overlap_curation_and_balance_are_shown(rich: SnapshotManifest, tmp_path: Path) -> None:
    text, rows = page(rich, tmp_path)
    recall = ["starter:recall", "starter:train", "1", "3", "1", "5.00", "1.96–12.16"]
    assert recall in rows
    assert ["length", "1,300", "40 × too long"] in rows
    assert ["ENT weak", "10", "5", "2.00", "25.0 (8.9–53.2), n = 12"] in rows
    (example,) = [row for row in rows if row and "95 % alike" in row[0]]
    assert "conflict" in example[0]
    assert "siderosis" in example[1]
    assert "<mark>leads to</mark>" in text
    assert "<strong>B. zinc</strong>" in text


def test_the_page_stands_alone_and_escapes(rich: SnapshotManifest, tmp_path: Path) -> None:
    text, _ = page(rich, tmp_path)
    assert "script" not in Page(text).tags
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert not re.search(r"\b(?:src|href)=[\"']?https?:", text)
    assert not re.search(r"url\((?!['\"]?#)|@import", text)


def test_findings_are_said_first(rich: SnapshotManifest) -> None:
    assert [(line.kind, line.text) for line in summarize_data(rich)] == [
        (
            "none",
            "260 questions of starter:train to train on; 20 validation, 40 calibration, "
            "80 evaluated (starter:recall), 80 evaluated (starter:transfer).",
        ),
        (
            "",
            "4 of 80 questions of starter:recall (5.00 %) are also in starter:train: their "
            "duplicates were removed from train.",
        ),
        (
            "worse",
            "starter:recall repeats 2 of its own questions with another right answer; they are "
            "kept, and limit the accuracy that any model can reach.",
        ),
        ("", "No question of starter:transfer is also in starter:train."),
    ]


def test_the_same_manifest_draws_the_same_page(manifest: SnapshotManifest, tmp_path: Path) -> None:
    first, _ = page(manifest, tmp_path)
    assert page(manifest, tmp_path)[0] == first
