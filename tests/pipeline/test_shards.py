"""An evaluation in parts: what is merged is what one machine would have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

import medtune as mt
from medtune.core.errors import InputError, PredictionsError
from medtune.evaluation.merge_shards import merge_shards

TIMES = {"duration_s", "questions_per_s", "provenance"}


def record_of(evaluation: mt.Evaluation) -> dict[str, Any]:
    return evaluation.record.model_dump(mode="json", exclude=TIMES)


@pytest.mark.parametrize("of", [2, 3, 7])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("letter", {}),
        ("cloze", {"orders": "cyclic", "options_only": 13}),
        ("letter", {"options_only": 3, "shots": 2}),
        ("generate", {}),
    ],
)
def test_the_parts_make_the_whole(method: Any, settings: dict[str, Any], of: int) -> None:
    def evaluate(shard: str | None = None) -> mt.Evaluation:
        return mt.evaluate(
            "fake:noisy", "starter:recall", method=method, settings=settings, shard=shard,
            shots_from="starter:train", limit=50,
        )  # fmt: skip

    whole, parts = evaluate(), [evaluate(f"{k}/{of}") for k in range(1, of + 1)]
    assert sum(part.record.counts.n for part in parts) == 50
    merged = merge_shards(parts[::-1])
    assert record_of(merged) == record_of(whole)
    assert list(merged.predictions) == list(whole.predictions)
    assert merged.record.duration_s == pytest.approx(sum(p.record.duration_s or 0 for p in parts))


@pytest.mark.parametrize("model", ["fake:noisy", "search"])
def test_a_search_beside_them_is_merged_too(tmp_path: Path, model: str) -> None:
    index = mt.search_index("starter:train", tmp_path / "index")
    name = model if model != "search" else f"search:{index.folder}"
    beside = None if model == "search" else index.folder

    def evaluate(shard: str | None = None) -> mt.Evaluation:
        return mt.evaluate(name, "starter:recall", search=beside, shard=shard)

    merged = merge_shards([evaluate(f"{k}/3") for k in (2, 1, 3)])
    whole = evaluate()
    assert record_of(merged) == record_of(whole)
    assert (whole.record.search is None) == (model == "search")
    assert list(merged.predictions) == list(whole.predictions)


def test_the_merged_folder_is_the_whole_ones(medtune: CommandLine, tmp_path: Path) -> None:
    for k in (1, 2):
        command = ("evaluate", "fake:noisy", "starter:recall", "--shard", f"{k}/2")
        found = medtune.record(*command, "--out", f"part{k}")
        assert found["shard"]["number"] == k
        assert found["data"]["source"] == f"starter:recall (part {k} of 2)"
    found = medtune.record("merge", "part2", "part1", "--out", "whole")
    assert found["counts"]["n"] == 80
    assert found["shard"] is None
    before = (tmp_path / "whole" / "record.json").read_bytes()
    code, _, err = medtune("evaluate", "fake:noisy", "starter:recall", "--out", "whole")
    assert code == 0
    assert "still valid" in err
    assert (tmp_path / "whole" / "record.json").read_bytes() == before


def test_parts_have_folders_of_their_own(medtune: CommandLine, tmp_path: Path) -> None:
    for k in (1, 2):
        medtune.record("evaluate", "fake:noisy", "starter:recall", "--shard", f"{k}/2")
    names = sorted(folder.name for folder in (tmp_path / "runs" / "eval").iterdir())
    assert [("part-1-of-2" in a, "part-2-of-2" in a) for a in names] == [
        (True, False), (False, True)
    ]  # fmt: skip


@pytest.mark.parametrize("shard", ["", "1", "0/2", "3/2", "1/1", "1/81", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_part_is_refused(shard: str) -> None:
    with pytest.raises(InputError, match=r"of 80 questions.*\n.*1/4 to 4/4"):
        mt.evaluate("fake:noisy", "starter:recall", shard=shard)


def test_a_prior_of_all_questions_is_not_estimated_in_parts(medtune: CommandLine) -> None:
    for more in ((), ("--dry-run",)):
        command = ("evaluate", "fake:noisy", "starter:recall", "--shard", "1/2")
        code, _, err = medtune(*command, "--orders", "pride", *more)
        assert code == 2
        assert "prior is estimated on questions of all parts" in " ".join(err.split())


def test_a_plan_counts_the_questions_of_the_part(medtune: CommandLine) -> None:
    command = ("evaluate", "fake:noisy", "starter:recall", "--dry-run", "--shard", "1/4")
    (step,) = medtune.record(*command)["steps"]
    assert step["count"] == 20


@pytest.fixture
def parts() -> list[mt.Evaluation]:
    return [mt.evaluate("fake:noisy", "starter:recall", shard=f"{k}/3") for k in (1, 2, 3)]


def test_a_missing_part_is_named(parts: list[mt.Evaluation]) -> None:
    with pytest.raises(PredictionsError, match="part 2 of 3 is missing") as caught:
        merge_shards([parts[0], parts[2]])
    assert "--shard 2/3" in caught.value.fix


def test_a_part_that_is_there_twice_is_named(parts: list[mt.Evaluation]) -> None:
    with pytest.raises(PredictionsError, match="are both part 1 of 3"):
        merge_shards([*parts, parts[0]])


@pytest.mark.parametrize(
    "other",
    [
        {"model": "fake:biased"},
        {"method": "cloze"},
        {"shard": "2/4"},
        {"data": "starter:transfer"},
        {"settings": {"options_only": 3}},
    ],
)
def test_a_part_of_another_evaluation_is_refused(
    parts: list[mt.Evaluation], other: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"model": "fake:noisy", "data": "starter:recall", "shard": "2/3"} | other
    with pytest.raises(PredictionsError, match=r"part 2 of [34] of another evaluation"):
        merge_shards([parts[0], mt.evaluate(**how), parts[2]])


def test_a_whole_evaluation_is_no_part(parts: list[mt.Evaluation]) -> None:
    with pytest.raises(PredictionsError, match="is a whole evaluation"):
        merge_shards([*parts, mt.evaluate("fake:noisy", "starter:recall")])
    with pytest.raises(PredictionsError, match="no parts"):
        merge_shards([])


def test_what_is_written_elsewhere_is_not_overwritten(
    medtune: CommandLine, tmp_path: Path, parts: list[mt.Evaluation]
) -> None:
    for k, part in enumerate(parts):
        part.save(tmp_path / f"{k}")
    medtune.record("evaluate", "fake:oracle", "starter:recall", "--out", "taken")
    code, _, err = medtune("merge", "0", "1", "2", "--out", "taken")
    assert code != 0
    assert "taken" in err
