from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.cli.output.console import open_console
from medtune.cli.output.review import show_review, show_sample
from medtune.core.errors import FolderError, PredictionsError
from medtune.core.progress import NoProgress
from medtune.spotcheck import commands
from medtune.spotcheck.schema import SpotCheckRecord
from medtune.spotcheck.spreadsheet import read_sheet


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def evaluation(medtune: CommandLine, tmp_path: Path) -> Path:
    medtune(*("evaluate", "fake:biased", "starter:recall", "--method", "generate", "--out", "free"))
    return tmp_path / "free"


def sampled(evaluation: Path, n: int = 20) -> Path:
    folder = evaluation.parent / "review"
    commands.draw_spot_check([evaluation], n, 0, folder, NoProgress())
    return folder


def fill_in(folder: Path, reviewer: str, shift: int = 0, only: tuple[str, ...] = ()) -> Path:
    """Save a sheet in which what the output says is marked; the first `shift` items otherwise.

    With `only`, these items are marked "cannot be told", and no other.
    """
    with (folder / "items.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for place, row in enumerate(rows):
        said = row["output"].removeprefix("The answer is: ")
        letter = next(letter for letter in "ABCD" if row[letter].lstrip("'") == said)
        row["choice"] = "N" if place < shift else letter
        if only:
            row["choice"] = "U" if row["item"] in only else ""
    path = folder / f"marks-{reviewer}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_sample_mark_and_score(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sampled(evaluation)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        *("items.csv", "items.jsonl", "ledger.jsonl", "sample.json")
    ]
    fill_in(folder, "anna")
    fill_in(folder, "ben", shift=2)
    record = commands.score_spot_check(folder, ())
    assert SpotCheckRecord.model_validate_json((folder / "review.json").read_bytes()) == record
    anna, ben, consensus = record.scores
    assert (anna.marked, ben.none, consensus.marked) == (20, 2, 18)
    precision = anna.matchers[0].precision
    assert precision is not None
    assert precision.value == 1.0
    # The fake answers are all read plainly: one stratum, every item stands for four.
    assert [(s.size, s.drawn) for s in record.sample.strata] == [(80, 20)]
    assert ben.matchers[0].precision is not None
    assert ben.matchers[0].precision.value == pytest.approx(18 / 20)
    assert anna.accuracy[0].reviewed.value == anna.accuracy[0].parsed.value
    assert record.agreements[0].n == 20
    assert record.agreements[0].kappa is not None
    assert len(record.disagreements) == len(record.misreadings) == 2
    assert [matcher.matcher for matcher in anna.matchers][1:] == ["notebook's"]

    console = open_console(stderr=False)
    show_sample(console, record.sample)
    show_review(console, record)
    out = capsys.readouterr().out
    assert "20 of 80 outputs, seed 0" in out
    assert "100.0 (" in out
    assert "anna and ben: 90.0" in out
    assert f"disagree: {record.disagreements[0].item}: anna" in out
    assert "note: 2 disagreements are open" in out


def test_what_reviewers_get_is_blind(evaluation: Path) -> None:
    """What they are given does not name keys, readings or models."""
    folder = sampled(evaluation)
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    lines = (folder / "items.jsonl").read_text()
    seen = lines + (folder / "items.csv").read_text()
    for line in ledger:
        assert line["prediction"] not in seen
        assert line["reason"] not in seen
    for word in ("fake", "biased", '"answer"', '"chosen"', "stratum", "correct"):
        assert word not in seen
    for item in map(json.loads, lines.splitlines()):
        assert set(item) == {"id", "stem", "options", "text"}


def test_the_same_sample_is_not_drawn_twice_and_marks_are_not_written_over(
    evaluation: Path,
) -> None:
    folder = sampled(evaluation)
    fill_in(folder, "anna")
    before = (folder / "sample.json").read_bytes()
    said = Said()
    commands.draw_spot_check([evaluation], 20, 0, folder, said)
    assert said.lines == [f"{folder}: still valid"]
    assert (folder / "sample.json").read_bytes() == before
    with pytest.raises(FolderError, match="holds marks of another sample"):
        commands.draw_spot_check([evaluation], 21, 0, folder, NoProgress())
    assert (folder / "sample.json").read_bytes() == before


def test_a_sheet_that_was_filled_in_where_it_lies_is_not_written_over(evaluation: Path) -> None:
    folder = sampled(evaluation)
    sheet = fill_in(folder, "anna").replace(folder / "items.csv")
    before = sheet.read_bytes()
    with pytest.raises(FolderError, match=r"items\.csv is filled in, for another sample"):
        commands.draw_spot_check([evaluation], 21, 0, folder, NoProgress())
    assert sheet.read_bytes() == before
    assert commands.score_spot_check(folder, [sheet]).scores[0].marked == 20


def test_marks_of_a_former_version_count_beside_a_sheet(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    sheet = fill_in(folder, "anna")
    lines = [
        {"item": item, "reviewer": "carl", "choice": choice, "at": "2026-01-02"}
        for item, choice in read_sheet(sheet).items()
    ]
    (folder / "marks-carl.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    record = commands.score_spot_check(folder, ())
    assert [score.reviewer for score in record.scores] == ["anna", "carl", "consensus"]
    assert record.agreements[0].kappa == 1.0
    elsewhere = sheet.replace(tmp_path / "carl.csv")
    assert commands.score_spot_check(folder, [elsewhere]).scores[0].reviewer == "carl"
    with pytest.raises(PredictionsError, match="carl's marks were named before"):
        commands.score_spot_check(folder, [elsewhere, elsewhere])


def test_the_disputed_are_settled(evaluation: Path) -> None:
    folder = sampled(evaluation)
    fill_in(folder, "anna")
    fill_in(folder, "ben", shift=3)
    disputed = tuple(each.item for each in commands.score_spot_check(folder, ()).disagreements)
    assert len(disputed) == 3
    fill_in(folder, "adjudicator", only=disputed)
    record = commands.score_spot_check(folder, ())
    assert record.scores[-1].unsure == 3
    assert record.scores[-1].marked == 20


def test_a_changed_ledger_or_item_is_refused(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    fill_in(folder, "anna")
    for name in ("ledger.jsonl", "items.jsonl"):
        changed = tmp_path / name.split(".")[0]
        shutil.copytree(folder, changed)
        text = (changed / name).read_text()
        (changed / name).write_text(text.replace("a", "b", 1))
        with pytest.raises(PredictionsError, match="not the file that was drawn"):
            commands.score_spot_check(changed, ())


def test_scores_have_no_texts_to_review(medtune: CommandLine, tmp_path: Path) -> None:
    medtune("evaluate", "fake:biased", "starter:recall", "--method", "cloze", "--out", "cloze")
    with pytest.raises(PredictionsError, match="no texts to read"):
        commands.draw_spot_check([tmp_path / "cloze"], 20, 0, tmp_path / "review", NoProgress())
    assert not (tmp_path / "review").exists()


def test_a_scored_evaluation_points_at_doubt(medtune: CommandLine, evaluation: Path) -> None:
    medtune("evaluate", "fake:noisy", "starter:recall", "--method", "cloze", "--out", "scored")
    folder = evaluation.parent / "review"
    drawn = commands.draw_spot_check(
        [evaluation], 30, 0, folder, NoProgress(), evaluation.parent / "scored"
    )
    plain, doubtful = sorted(drawn.strata, key=lambda s: s.doubtful)
    assert doubtful.name.endswith("scored otherwise")
    assert doubtful.drawn / doubtful.size > plain.drawn / plain.size


def test_no_marks_and_no_sample(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    with pytest.raises(PredictionsError, match="nothing is marked"):
        commands.score_spot_check(folder, ())
    with pytest.raises(PredictionsError, match="holds no sample"):
        commands.score_spot_check(tmp_path, ())
    with pytest.raises(PredictionsError, match="does not exist"):
        commands.score_spot_check(folder, [tmp_path / "none.jsonl"])
