from __future__ import annotations

import csv
import json
import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.core.errors import FolderError, PredictionsError
from medtune.core.progress import Silent
from medtune.core.review import ReviewRecord
from medtune.recipes import review
from medtune.terminal.console import open_console
from medtune.terminal.review import show_review, show_sample


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def evaluation(medtune: CommandLine, tmp_path: Path) -> Path:
    medtune(*("evaluate", "fake:biased", "starter:recall", "--method", "generate", "--out", "free"))
    return tmp_path / "free"


def sampled(evaluation: Path, n: int = 20) -> Path:
    folder = evaluation.parent / "review"
    review.sample([evaluation], n, 0, folder, Silent())
    return folder


def post(url: str, name: str, content: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        url + name, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def mark_all(folder: Path, reviewer: str, shift: int = 0) -> str:
    """Mark over HTTP what the output says; the first `shift` items otherwise. Return all seen."""
    server = review.open_page(folder, None, 0, Silent())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    seen = read(server.url) + read(server.url + "review.js") + read(server.url + "items")
    post(server.url, "reviewer", {"name": reviewer})
    state = json.loads(read(server.url + "items"))
    for place, item in enumerate(state["items"]):
        said = item["text"].removeprefix("The answer is: ")
        choice = item["options"].index(said)
        post(
            server.url,
            "marks",
            {"item": item["id"], "choice": "none" if place < shift else choice},
        )
    seen += read(server.url + "items")
    server.shutdown()
    thread.join()
    server.server_close()
    return seen


def test_sample_mark_and_score(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sampled(evaluation)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        *("items.csv", "items.jsonl", "ledger.jsonl", "sample.json")
    ]
    mark_all(folder, "anna")
    mark_all(folder, "ben", shift=2)
    record = review.score(folder, (), Silent())
    assert ReviewRecord.model_validate_json((folder / "review.json").read_bytes()) == record
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


def test_the_page_is_blind(evaluation: Path, tmp_path: Path) -> None:
    """What the page sends does not change with keys and readings, and does not name them."""
    folder = sampled(evaluation)
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    (folder / "ledger.jsonl").unlink()
    seen = mark_all(folder, "anna")
    for line in ledger:
        assert line["prediction"] not in seen
        assert line["reason"] not in seen.replace("read the output", "")
    for word in ("fake", "biased", '"answer"', '"chosen"', "stratum", "correct"):
        assert word not in seen
    state = json.loads(seen[seen.rindex('{"reviewer"') :])
    assert set(state) == {"reviewer", "letters", "items", "marks"}
    assert {key for item in state["items"] for key in item} == {"id", "stem", "options", "text"}


def test_the_same_sample_is_not_drawn_twice_and_marks_are_not_written_over(
    evaluation: Path,
) -> None:
    folder = sampled(evaluation)
    mark_all(folder, "anna")
    before = (folder / "sample.json").read_bytes()
    said = Said()
    review.sample([evaluation], 20, 0, folder, said)
    assert said.lines == [f"{folder}: still valid"]
    assert (folder / "sample.json").read_bytes() == before
    with pytest.raises(FolderError, match="holds marks of another sample"):
        review.sample([evaluation], 21, 0, folder, Silent())
    assert (folder / "sample.json").read_bytes() == before


def test_a_sheet_may_stand_for_the_page(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    with (folder / "items.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        said = row["output"].removeprefix("The answer is: ")
        row["choice"] = next(letter for letter in "ABCD" if row[letter].lstrip("'") == said)
    sheet = tmp_path / "carl.csv"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mark_all(folder, "anna")
    record = review.score(folder, [folder / "marks-anna.jsonl", sheet], Silent())
    assert [score.reviewer for score in record.scores] == ["anna", "carl", "consensus"]
    assert record.agreements[0].kappa == 1.0
    with pytest.raises(PredictionsError, match="carl's marks were named before"):
        review.score(folder, [sheet, sheet], Silent())


def test_the_disputed_are_settled(evaluation: Path) -> None:
    folder = sampled(evaluation)
    with pytest.raises(PredictionsError, match="no item is disputed"):
        review.open_page(folder, "adjudicator", 0, Silent(), disputed=True)
    mark_all(folder, "anna")
    mark_all(folder, "ben", shift=3)
    server = review.open_page(folder, "adjudicator", 0, Silent(), disputed=True)
    assert len(server.items) == 3
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for item in server.items:
        post(server.url, "marks", {"item": item, "choice": "unsure"})
    server.shutdown()
    thread.join()
    server.server_close()
    record = review.score(folder, (), Silent())
    assert record.scores[-1].unsure == 3
    assert record.scores[-1].marked == 20


def test_a_torn_line_is_said_and_the_rest_counts(evaluation: Path) -> None:
    folder = sampled(evaluation)
    mark_all(folder, "anna")
    path = folder / "marks-anna.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    said = Said()
    assert review.score(folder, (), said).scores[0].marked == 19
    assert "its last line is torn" in said.lines[0]
    said = Said()
    review.open_page(folder, "anna", 0, said).server_close()
    assert "a torn last line was dropped" in said.lines[0]


def test_a_changed_ledger_or_item_is_refused(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    mark_all(folder, "anna")
    for name in ("ledger.jsonl", "items.jsonl"):
        changed = tmp_path / name.split(".")[0]
        shutil.copytree(folder, changed)
        text = (changed / name).read_text()
        (changed / name).write_text(text.replace("a", "b", 1))
        with pytest.raises(PredictionsError, match="not the file that was drawn"):
            review.score(changed, (), Silent())


def test_scores_have_no_texts_to_review(medtune: CommandLine, tmp_path: Path) -> None:
    medtune("evaluate", "fake:biased", "starter:recall", "--method", "cloze", "--out", "cloze")
    with pytest.raises(PredictionsError, match="no texts to read"):
        review.sample([tmp_path / "cloze"], 20, 0, tmp_path / "review", Silent())
    assert not (tmp_path / "review").exists()


def test_a_scored_evaluation_points_at_doubt(medtune: CommandLine, evaluation: Path) -> None:
    medtune("evaluate", "fake:noisy", "starter:recall", "--method", "cloze", "--out", "scored")
    folder = evaluation.parent / "review"
    drawn = review.sample([evaluation], 30, 0, folder, Silent(), evaluation.parent / "scored")
    plain, doubtful = sorted(drawn.strata, key=lambda s: s.doubtful)
    assert doubtful.name.endswith("scored otherwise")
    assert doubtful.drawn / doubtful.size > plain.drawn / plain.size


def test_no_marks_and_no_sample(evaluation: Path, tmp_path: Path) -> None:
    folder = sampled(evaluation)
    with pytest.raises(PredictionsError, match="nothing is marked"):
        review.score(folder, (), Silent())
    with pytest.raises(PredictionsError, match="holds no sample"):
        review.score(tmp_path, (), Silent())
    with pytest.raises(PredictionsError, match="does not exist"):
        review.score(folder, [tmp_path / "none.jsonl"], Silent())


def test_ctrl_c_ends_the_page_calmly(evaluation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medtune.analysis.review_server import ReviewServer

    def interrupted(self: ReviewServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewServer, "serve_forever", interrupted)
    folder = sampled(evaluation)
    said = Said()
    review.serve(folder, "anna", 0, said)
    assert said.lines[0].startswith("review at http://127.0.0.1:")
    assert said.lines[-2:] == [
        "0 of 20 marked",
        f"go on: medtune review serve {folder}; score: medtune review score {folder}",
    ]
