from __future__ import annotations

import json
from pathlib import Path

import pytest

from medtune.commands.evaluate import evaluate
from medtune.core.errors import FolderError, InputError, PredictionsError
from medtune.core.progress import NoProgress
from medtune.core.run_folder import lock_folder, read_record
from medtune.studies.runner import run_study
from medtune.studies.test_size.schema import SamplePlan, SampleSizeRecord
from medtune.studies.test_size.study import SampleSizeStudy

PLAN = SamplePlan(sizes=(20, 50, 100), draws=400)


def run_test_size(
    a: Path, b: Path | None, plan: SamplePlan, by_subject: bool, folder: Path
) -> SampleSizeRecord:
    record = run_study(SampleSizeStudy, folder, None, NoProgress(), a, b, plan, by_subject)
    assert isinstance(record, SampleSizeRecord)
    return record


def examined(folder: Path, kind: str, data: str = "starter:recall") -> Path:
    evaluate(f"fake:{kind}", data, out=folder)
    return folder


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    return examined(tmp_path / "noisy", "noisy")


@pytest.fixture
def biased(tmp_path: Path) -> Path:
    return examined(tmp_path / "biased", "biased")


def test_one_evaluation(noisy: Path, tmp_path: Path) -> None:
    record = run_test_size(noisy, None, PLAN, False, tmp_path / "out")
    saved = json.loads((noisy / "record.json").read_text())
    (exam,) = record.evaluations
    assert exam.label == saved["label"] == "fake:noisy"
    assert exam.accuracy.value == saved["accuracy"]["value"]
    assert exam.majority_letter == saved["majority_letter"]
    assert [size.n for size in exam.sizes] == [20, 50, 80]
    assert record.left_out == (100,)
    assert exam.sizes[-1].spread.mean == pytest.approx(exam.accuracy.value)
    assert read_record(tmp_path / "out" / "test-size.json", SampleSizeRecord) == record
    page = (tmp_path / "out" / "test-size.html").read_text()
    assert "With 80 questions the 95 % interval of fake:noisy" in page


def test_two_evaluations_by_subject(noisy: Path, biased: Path, tmp_path: Path) -> None:
    record = run_test_size(noisy, biased, PLAN, True, tmp_path / "out")
    assert record.difference is not None
    assert [exam.label for exam in record.evaluations] == ["fake:noisy", "fake:biased"]
    assert record.subjects is not None
    assert record.subjects > 1
    for exam in record.evaluations:
        for size in exam.sizes:
            assert size.stratified is not None
            assert (size.stratified.ratio is None) == (size.n == 80)
            assert (size.stratified.spread.deviation == 0) == (size.n == 80)
    assert record.subjects_verdict is not None
    assert record.subjects_verdict in (tmp_path / "out" / "test-size.html").read_text()
    again = run_test_size(noisy, biased, PLAN, True, tmp_path / "again")
    assert again.model_dump(exclude={"provenance"}) == record.model_dump(exclude={"provenance"})


def test_the_oracle_and_the_constant_leave_nothing_to_chance(tmp_path: Path) -> None:
    oracle, constant = (examined(tmp_path / kind, kind) for kind in ("oracle", "constant"))
    record = run_test_size(constant, oracle, PLAN, False, tmp_path / "out")
    _, best = record.evaluations
    for size in best.sizes:
        assert size.spread.deviation == size.standard_error == 0
        assert (size.coverage, size.excludes_chance) == (1, 1)
    assert record.difference is not None
    assert record.difference.sizes[0].wrong_sign == 0
    assert record.difference.sizes[0].power == 1
    assert record.difference.needed is not None
    assert record.difference.needed < 20


def test_other_questions_are_refused_and_nothing_is_written(noisy: Path, tmp_path: Path) -> None:
    other = examined(tmp_path / "other", "noisy", "starter:transfer")
    with pytest.raises(PredictionsError, match="0 are the same"):
        run_test_size(noisy, other, PLAN, False, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_evaluation_is_refused(noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        run_test_size(tmp_path / "none", None, PLAN, False, tmp_path / "out")
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        run_test_size(noisy, tmp_path / "none", PLAN, False, tmp_path / "out")


def test_too_small_a_test_is_refused(tmp_path: Path) -> None:
    few = tmp_path / "few"
    evaluate("fake:noisy", "starter:recall", out=few, limit=19)
    with pytest.raises(PredictionsError, match="answered 19 questions"):
        run_test_size(few, None, PLAN, False, tmp_path / "out")


def test_questions_without_subjects_are_not_drawn_by_subject(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "question": f"Which of {n}?", "opa": "a", "opb": "b", "cop": n % 2}
        | {"opc": "c", "opd": "d"}
        for n in range(40)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = examined(tmp_path / "own", "noisy", f"file:{path}")
    with pytest.raises(PredictionsError, match="no question has a subject"):
        run_test_size(own, None, PLAN, True, tmp_path / "out")
    assert run_test_size(own, None, PLAN, False, tmp_path / "out").n == 40


def test_a_folder_in_use_is_refused(noisy: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "out"), pytest.raises(FolderError, match="in use"):
        run_test_size(noisy, None, PLAN, False, tmp_path / "out")


def test_a_plan_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="99 draws"):
        SamplePlan(draws=99)
