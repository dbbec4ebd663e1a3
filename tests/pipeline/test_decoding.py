from __future__ import annotations

from pathlib import Path

from tests.conftest import CommandLine

STUDY = ("study", "decoding", "fake:noisy", "starter:recall", "--limit", 12, "--repeats", 2)


def test_a_study_is_whole_resumable_and_repeats_nothing(medtune: CommandLine) -> None:
    record = medtune.record(*STUDY, "--out", "d")
    assert record["kind"] == "decoding"
    assert record["n"] == 12
    assert len(record["points"]) == 22
    assert {p["repeats"] for p in record["points"]} == {1, 2}
    assert Path("d/decoding.html").is_file()
    assert record["duration_s"] >= record["cell_s"]

    cells = {path: path.stat().st_mtime_ns for path in Path("d/cells").glob("*/cell.json")}
    assert len(cells) == 10 + 12 * 2
    torn = Path("d/cells/letter/cell.json")
    torn.unlink()
    again = medtune.record(*STUDY, "--out", "d")
    assert again["duration_s"] is None  # this call did one of them
    after = {path: path.stat().st_mtime_ns for path in Path("d/cells").glob("*/cell.json")}
    assert {path for path in cells if after[path] != cells[path]} == {torn}

    code, out, _ = medtune(*STUDY, "--out", "d")
    assert code == 0
    assert "Recommended: " in out


def test_shards_add_up_to_the_study_of_one(medtune: CommandLine) -> None:
    whole = medtune.record(*STUDY, "--out", "one")
    first = medtune.record(*STUDY, "--out", "two", "--shard", "1/2")
    assert (first["kind"], first["cells"], first["done"]) == ("grid", 34, 17)
    code, out, _ = medtune(*STUDY, "--out", "two", "--shard", "1/2")
    assert code == 0
    assert "17 of 34 cells are done" in out
    last = medtune.record(*STUDY, "--out", "two", "--shard", "2/2")
    assert last["kind"] == "decoding"
    for a, b in zip(whole["points"], last["points"], strict=True):
        assert (a["setting"], a["accuracy"]) == (b["setting"], b["accuracy"])


def test_two_workers_do_it_as_well(medtune: CommandLine) -> None:
    record = medtune.record(*STUDY, "--out", "d", "--workers", 2)
    assert len(record["points"]) == 22


def test_a_shard_that_there_is_not_is_an_error(medtune: CommandLine) -> None:
    code, _, err = medtune(*STUDY, "--shard", "3/2")
    assert code == 2
    assert "shard 3/2" in err
