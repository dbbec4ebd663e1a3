"""Fresh logs of the pinned lm-evaluation-harness and Inspect on the embedded model, imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness_logs import (
    FREE_TASK,
    GROUP,
    LETTERS_TASK,
    NO_CHOICES_TASK,
    TEXTS_TASK,
    run_inspect,
    run_lm_eval,
    select_questions,
    write_tasks,
)
from medtune.analysis.compare import compare_evaluations
from medtune.core.errors import PredictionsError
from medtune.foreign_logs.read_log import list_evaluations, read_evaluation_log

QUESTIONS = 16


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lm_eval")
    folder = tmp_path_factory.mktemp("lm-eval")
    write_tasks(folder / "tasks", select_questions(QUESTIONS))
    return run_lm_eval(
        folder / "tasks", [LETTERS_TASK, TEXTS_TASK, FREE_TASK, GROUP], folder / "out"
    )


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        (LETTERS_TASK, "acc"),
        (LETTERS_TASK, "acc_norm"),
        (TEXTS_TASK, "acc"),
        (TEXTS_TASK, "acc_norm"),
        (FREE_TASK, "exact_match"),
    ],
)
def test_the_accuracy_is_the_harness_own_to_the_last_digit(
    log: Path, task: str, metric: str
) -> None:
    (results,) = log.glob("results_*.json")
    figures = json.loads(results.read_text())["results"][task]
    logged = next(value for key, value in figures.items() if key.startswith(f"{metric},"))
    record, predictions = read_evaluation_log(log, task, metric=metric)
    assert record.accuracy.value == logged
    assert len(predictions) == QUESTIONS
    assert record.origin is not None
    assert record.origin.display_name == "lm-evaluation-harness 0.4.13"


def test_a_group_has_its_subjects(log: Path) -> None:
    assert list_evaluations(log) == [GROUP, TEXTS_TASK, FREE_TASK, LETTERS_TASK]
    record, predictions = read_evaluation_log(log, GROUP)
    assert {p.subject for p in predictions} >= {"anaesthesia", "anatomy"}
    assert record.counts.n == QUESTIONS


def test_letters_and_the_group_of_the_same_questions_are_paired(log: Path) -> None:
    one, same = read_evaluation_log(log, LETTERS_TASK), read_evaluation_log(log, GROUP)
    found = compare_evaluations(one, same)
    assert (found.only_a, found.only_b, found.n) == (0, 0, QUESTIONS)


def test_tasks_without_options_and_unjudged_answers_are_refused(log: Path, tmp_path: Path) -> None:
    tasks = log.parent.parent / "tasks"
    with pytest.raises(PredictionsError, match="type loglikelihood"):
        read_evaluation_log(run_lm_eval(tasks, [NO_CHOICES_TASK], tmp_path / "a"))
    unjudged = run_lm_eval(tasks, [LETTERS_TASK], tmp_path / "b", predict_only=True)
    with pytest.raises(PredictionsError, match="--predict_only"):
        read_evaluation_log(unjudged)


# Inspect runs on libraries whose deprecations are its own.
@pytest.mark.filterwarnings("ignore")
def test_inspect_on_the_embedded_model_and_on_a_script(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.log import read_eval_log

    questions = select_questions(8)
    said = [f"ANSWER: {'ABCD'[q.answer or 0]}" for q in questions]
    first = run_inspect(questions, tmp_path / "embedded")
    second = run_inspect(questions, tmp_path / "script", answers=said, suffix="json")
    for path in (first, second):
        results = read_eval_log(str(path)).results
        assert results is not None
        record, _ = read_evaluation_log(path)
        assert record.accuracy.value == results.scores[0].metrics["accuracy"].value
    found = compare_evaluations(read_evaluation_log(first), read_evaluation_log(second))
    assert found.accuracy_b.value == 1.0
    assert found.n == len(questions)


@pytest.mark.filterwarnings("ignore")
def test_epochs_of_inspect_are_its_own_accuracy(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.log import read_eval_log

    questions = select_questions(4)
    said = [f"ANSWER: {letter}" for letter in "DDACBADC"]
    path = run_inspect(questions, tmp_path, answers=said, epochs=2)
    results = read_eval_log(str(path)).results
    assert results is not None
    record, predictions = read_evaluation_log(path)
    assert record.accuracy.value == results.scores[0].metrics["accuracy"].value
    assert len({p.group for p in predictions}) == 4
