"""A learning curve on the tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.cli.output import show_record
from medtune.core.errors import DataError, InputError
from medtune.core.experiment import EvaluationConfig, Experiment, RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.records import TrainingRecord
from medtune.models.sources import ModelSource
from medtune.retrieval.index import read_index_manifest
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.learning_curve.page import render
from medtune.studies.learning_curve.schema import LearningCurveRecord
from medtune.studies.learning_curve.study import LearningCurveStudy
from medtune.studies.runner import run_study

HANDS = WorkerCounts()


def settings(source: ModelSource, **changes: Any) -> dict[str, Any]:
    experiment = Experiment.model_validate(
        {
            "model": {"source": source.name, "dtype": "float32"},
            "data": {"evaluate": ["starter:recall"], "evaluate_size": 16},
            "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2},
            "evaluation": {"methods": ["cloze"]},
            "seeds": [1, 2],
        }
    )
    plan = {"sizes": (8, 32), "selections": ("random", "balanced")}
    return {"experiment": experiment, **plan, **changes}


def run(
    folder: Path, settings: dict[str, Any], hands: WorkerCounts = HANDS
) -> LearningCurveRecord | GridState:
    return run_study(LearningCurveStudy, folder, hands, NoProgress(), **settings)


@pytest.fixture(scope="module")
def studied(
    tiny_source: ModelSource, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LearningCurveRecord, Path]:
    folder = tmp_path_factory.mktemp("curve")
    record = run(folder, settings(tiny_source))
    assert isinstance(record, LearningCurveRecord)
    return record, folder


def trainings(folder: Path) -> dict[str, TrainingRecord]:
    return {
        path.parent.name: TrainingRecord.model_validate_json(path.read_bytes())
        for path in folder.glob("cells/*/training.json")
    }


def test_every_arm_is_trained_from_every_seed_and_the_largest_only_once(
    studied: tuple[LearningCurveRecord, Path],
) -> None:
    record, folder = studied
    assert len(record.points) == 2 * 2 * 2  # equal x selection x size
    assert {point.seeds for point in record.points} == {(1, 2)}
    done = trainings(folder)
    # At 32 questions equal steps are equal epochs: 2 selections x 2 seeds are shared.
    assert len(done) == 2 * 2 * 3
    for name, training in done.items():
        _, _, size, equal, _ = name.rsplit("-", 4)
        assert training.data.n == int(size)
        assert training.steps == (4 if equal == "steps" else -(-int(size) // 8))
        assert training.epochs == (4 if (size, equal) == ("8", "steps") else 1)
    drawn = {name: training.data.hash for name, training in done.items()}
    assert drawn["text-random-8-epochs-seed1"] == drawn["text-random-8-steps-seed1"]
    assert drawn["text-random-8-epochs-seed1"] != drawn["text-random-8-epochs-seed2"]
    assert drawn["text-random-8-epochs-seed1"] != drawn["text-balanced-8-epochs-seed1"]
    large = [point for point in record.points if point.arm.size == 32]
    by_kind = {(p.arm.selection, p.arm.equal): p.accuracies for p in large}
    assert by_kind["random", "epochs"] == by_kind["random", "steps"]


def test_many_at_random_are_held_against_few_that_were_chosen(
    studied: tuple[LearningCurveRecord, Path],
) -> None:
    record, _ = studied
    pairs = [(c.few.size, c.few.selection, c.few.equal, c.many.selection) for c in record.contrasts]
    assert pairs == [
        (8, selection, equal, "random")
        for equal in ("epochs", "steps")
        for selection in ("random", "balanced")
    ]
    assert (
        "32 random against 8 balanced questions (closed book, text, equal steps): "
    ) in record.verdict
    assert {(c.n, c.test) for c in record.contrasts} == {(16, "paired z")}
    for point in record.points:
        assert point.low <= point.accuracy <= point.high
        assert point.accuracy - record.base.accuracy.value == pytest.approx(point.gain)


def test_a_lost_cell_is_done_again_and_nothing_else(
    studied: tuple[LearningCurveRecord, Path], tiny_source: ModelSource
) -> None:
    record, folder = studied
    cells = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/cell.json")}
    lost = folder / "cells" / "text-random-8-epochs-seed1" / "cell.json"
    lost.unlink()
    again = run(folder, settings(tiny_source))
    assert isinstance(again, LearningCurveRecord)
    assert again.points == record.points
    after = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/cell.json")}
    assert {path for path in cells if cells[path] != after[path]} == {lost}
    # A seed more: the others stay.
    whole = settings(tiny_source)["experiment"].model_copy(update={"seeds": (1, 2, 3)})
    more = settings(tiny_source, experiment=whole)
    state = run(folder, more, WorkerCounts(shard=1, shards=99))
    assert isinstance(state, GridState)
    assert (state.done, state.cells) == (13, 19)


def test_closed_and_open_book_over_several_calls(tiny_source: ModelSource, tmp_path: Path) -> None:
    plan: dict[str, Any] = {"selections": ("random",), "equal": ("epochs",)}
    # A night for the closed book, one size at a time, and one for the other.
    first = run(tmp_path, settings(tiny_source, **plan, sizes=(8,)))
    assert isinstance(first, LearningCurveRecord)
    run(tmp_path, settings(tiny_source, **plan, sizes=(16,)))
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*/cell.json")}
    assert len(done) == 1 + 2 * 2
    whole = settings(tiny_source, **plan, sizes=(8, 16, 24, 32), retrieval=("per-option", "none"))
    record = run(tmp_path, whole)
    assert isinstance(record, LearningCurveRecord)
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    assert list(record.bases) == ["none", "per-option"]
    closed, opened = record.bases.values()
    assert closed == first.base
    assert opened.open_book is not None
    assert opened.search is not None
    assert closed.search is None
    assert [(c.arm.retrieval, c.law is None) for c in record.curves] == [
        ("none", False),
        ("per-option", False),
    ]
    found = {p.arm.retrieval: p for p in record.points if p.arm.size == 32}
    for kind, base in record.bases.items():
        expected = found[kind].accuracy - base.accuracy.value
        assert found[kind].gain == pytest.approx(expected)
    # One index of the pool serves all sizes, and the training prompts show its passages.
    manifest = read_index_manifest(tmp_path / "index")
    assert manifest.passages == record.pool.n > 32
    assert opened.open_book.index == manifest.hash
    trained = trainings(tmp_path)
    assert "Reference: " in trained["per-option-text-random-8-epochs-seed1"].audit.sample
    assert "Reference: " not in trained["text-random-8-epochs-seed1"].audit.sample
    cells = tmp_path / "cells"
    assert (cells / "per-option-text-random-8-epochs-seed1" / "passages.arrow").is_file()
    page = (tmp_path / LearningCurveStudy.page).read_text(encoding="utf-8")
    for curve in record.curves:
        assert curve.verdict in page

    # An index of one's own, wherever it lies: the same passages are the same cells.
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*/cell.json")}
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "index", moved)
    shown = whole["experiment"].model_copy(
        update={"retrieval": RetrievalConfig(kind="per-option", index=str(moved))}
    )
    again = run(tmp_path, {**whole, "experiment": shown, "retrieval": ()})
    assert isinstance(again, LearningCurveRecord)
    assert again.points == tuple(p for p in record.points if p.arm.retrieval == "per-option")
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())


def test_further_seeds_are_trained_where_the_first_was_cheap(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    plan: dict[str, Any] = {"selections": ("random",), "equal": ("epochs",)}
    one = run(tmp_path, settings(tiny_source, **plan, seeds_under=0))
    assert isinstance(one, LearningCurveRecord)
    assert [point.seeds for point in one.points] == [(1,), (1,)]
    assert {c.test for c in one.contrasts} == {"exact McNemar"}
    # As if the larger training had taken an hour.
    record = tmp_path / "cells" / "text-random-32-epochs-seed1" / "training.json"
    slow = TrainingRecord.model_validate_json(record.read_bytes())
    record.write_text(slow.model_copy(update={"duration_s": 3600.0}).model_dump_json())
    some = run(tmp_path, settings(tiny_source, **plan, seeds_under=10))
    assert isinstance(some, LearningCurveRecord)
    assert [point.seeds for point in some.points] == [(1, 2), (1,)]
    (contrast,) = some.contrasts
    assert (contrast.seeds_few, contrast.seeds_many, contrast.test) == (2, 1, "paired z")
    assert "means of 2 and 1 trainings" in render(some)


def test_free_answers_have_no_passages_per_option(tiny_source: ModelSource, tmp_path: Path) -> None:
    experiment = settings(tiny_source)["experiment"].model_copy(
        update={"evaluation": EvaluationConfig(methods=("generate",))}
    )
    with pytest.raises(InputError, match="primary method generate"):
        run(tmp_path / "c", settings(tiny_source, experiment=experiment, retrieval=("per-option",)))
    assert not (tmp_path / "c").exists()


def test_page_and_table(
    studied: tuple[LearningCurveRecord, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record, folder = studied
    page = (folder / LearningCurveStudy.page).read_text(encoding="utf-8")
    assert record.verdict in page
    assert page.count("<svg") == 2
    assert "mathdefault" not in page
    show_record(record)
    out = " ".join(capsys.readouterr().out.split())
    assert " ".join(record.verdict.split()) in out


def test_a_pool_that_is_too_small_is_an_error(tiny_source: ModelSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train_size asks for 999"):
        run(tmp_path, settings(tiny_source, sizes=(999,), selections=("random",)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": ()},
        {"sizes": (0, 5)},
        {"sizes": (5, 5)},
        {"random_sizes": (8,)},
        {"random_sizes": (64,), "selections": ("balanced",)},
    ],
)
def test_sizes_that_vary_nothing_are_refused(
    tiny_source: ModelSource, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="sizes"):
        run(tmp_path / "c", settings(tiny_source, **wrong))
    assert not (tmp_path / "c").exists()


def test_the_command(tiny_source: ModelSource, medtune: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(
        f'[model]\nsource = "{tiny_source.name}"\ndtype = "float32"\n[data]\n'
        'evaluate = ["starter:recall"]\nevaluate_size = 6\n[training]\nepochs = 1\n'
        '[evaluation]\nmethods = ["letter"]\n'
    )
    command = ("study", "learning-curve", path, "--sizes", "8,16", "--equal", "epochs")
    record = medtune.record(
        *command, "--selections", "random,curated", "--targets", "text,letter", "--out", "c",
        "--retrieval", "none", "--random-sizes", "24",
    )  # fmt: skip
    arms = [point["arm"] for point in record["points"]]
    assert [(arm["target"], arm["selection"], arm["size"]) for arm in arms] == [
        (target, selection, size)
        for target in ("text", "letter")
        for selection, sizes in (("random", (8, 16, 24)), ("curated", (8, 16)))
        for size in sizes
    ]
    for wrong, why in (
        (("--selections", "best"), "some of random, balanced, curated"),
        (("--sizes", "8,x"), "whole numbers"),
        (("--random-sizes", "x"), "whole numbers"),
        (("--equal", "epochs,epochs"), "each once"),
        (("--retrieval", "none,perhaps"), "some of none, per-option, shared"),
        (("--seeds-under", "10"), "an experiment of a single seed"),
    ):
        code, _, err = medtune(*command[:3], *wrong)
        assert code == 2
        assert why in err
