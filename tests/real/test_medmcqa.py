"""On the real files, where they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medtune.commands.rescore import rescore
from medtune.core.errors import EmptySplitError
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Outcome
from medtune.data.dedup.canonical_form import canonicalize_question
from medtune.data.dedup.is_duplicate import duplicate_kind
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER, parse_answer
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel
from medtune.models.local.local_model import LocalModel


@pytest.fixture(scope="module")
def train(real_data: Path) -> Split:
    return load_split(f"file:{real_data}/medmcqa_train.parquet")


@pytest.fixture(scope="module")
def validation(real_data: Path) -> Split:
    return load_split(f"file:{real_data}/medmcqa_validation.parquet")


def test_validation_is_read_whole(validation: Split) -> None:
    found = validation.description
    assert validation.answer_base == 0
    assert found.n + sum(found.excluded.values()) == 4183
    assert set(found.excluded) <= {"duplicate options", "empty option", "empty stem"}
    assert found.n > 4100


def test_always_answering_a_scores_32_per_cent(validation: Split) -> None:
    exam = Exam(validation.questions, validation.description, PromptStyle(), "letter", "sum")
    record, predictions = evaluate_model(
        FakeModel("constant", {}), exam, "A", STRICT_PARSER, NoProgress()
    )
    assert record.accuracy.value == pytest.approx(0.322, abs=0.002)
    assert record.majority_letter == "A"
    assert record.majority.value == record.accuracy.value
    assert {p.chosen for p in predictions} == {0}


def test_train_rows_with_equal_options_are_left_out_and_counted(train: Split) -> None:
    assert train.answer_base == 0
    assert 240 <= train.description.excluded["duplicate options"] <= 290
    assert train.description.n + sum(train.description.excluded.values()) == 75_129


def test_real_pairs_with_the_same_options_and_answer_are_told_apart(
    train: Split, validation: Split
) -> None:
    """Judge pairs that one reader labelled: does the other stem ask for the same fact?

    The first 230 of the pairs between train and validation, in an order by hash, are in two
    halves: thresholds were chosen on "chosen on".  "read later" are the other 70 of them.  "found
    in train" are 80 pairs within train that the finished rule linked before anybody read them.
    """
    questions = {
        question.id: canonicalize_question(question)
        for split in (train, validation)
        for question in split.questions
    }
    labels = (Path(__file__).parent / "same_questions.csv").read_text()
    rows = list(csv.DictReader(labels.splitlines()))
    assert len(rows) == 372
    for part in ("other half", "read later", "found in train"):
        some = [row for row in rows if row["part"] == part]
        found = [
            row for row in some if duplicate_kind(*(questions[row[k]] for k in ("one", "other")))
        ]
        right = sum(row["same"] == "1" for row in found)
        assert right >= 0.9 * len(found)
        assert right >= 0.45 * sum(row["same"] == "1" for row in some)


def test_the_unlabelled_test_split_cannot_be_examined(real_data: Path) -> None:
    with pytest.raises(EmptySplitError, match=r"\d+ × no label"):
        load_split(f"file:{real_data}/medmcqa_test_nolabel.parquet")


def test_pubmedqa_has_three_options(real_data: Path) -> None:
    split = load_split(f"file:{real_data}/pubmedqa_labeled.parquet")
    assert split.description.n == 1000
    assert {q.options for q in split.questions} == {("yes", "no", "maybe")}


def test_the_notebooks_30_per_cent_read_line_by_line(real_data: Path) -> None:
    file = real_data / "notebook_evaluation.json"
    lenient, strict = rescore(file, "notebook"), rescore(file, "strict")
    assert (lenient.counts.correct, lenient.exact, lenient.partial) == (6, 6, 0)
    assert (strict.counts.correct, strict.counts.unparsed, strict.counts.wrong) == (4, 4, 12)
    assert (lenient.accuracy.low, lenient.accuracy.high) == pytest.approx((0.145, 0.519), abs=5e-4)


def test_the_strict_parser_reads_the_right_four(real_data: Path) -> None:
    results = json.loads((real_data / "notebook_evaluation.json").read_text())["results"]
    outcomes = {
        r["ground_truth"]: parse_answer(
            r["prediction"], [r[k] for k in ("opa", "opb", "opc", "opd")]
        )
        for r in results
    }
    by_outcome: dict[Outcome, set[str]] = {}
    for r in results:
        truth = r["ground_truth"]
        by_outcome.setdefault(outcomes[truth].grade(r["cop"]), set()).add(truth)
    assert by_outcome[Outcome.CORRECT] == {
        "Watch and wait strategy",
        "Ganciclovir",
        "Respiratory paralysis",
        "lymphocyte-predominant Hodgkin disease (HD)",
    }
    assert by_outcome[Outcome.UNPARSED] == {"Sodium lactate", "Alpo's syndrome", "All", "Brain"}


def test_the_embedded_model_is_near_chance_in_letters(model: LocalModel, real_data: Path) -> None:
    split = load_split(f"file:{real_data}/medmcqa_validation.parquet", size=120)
    exam = Exam(split.questions, split.description, PromptStyle(), "letter", "sum")
    record, _ = evaluate_model(model, exam, "base", STRICT_PARSER, NoProgress())
    assert record.accuracy.low < 0.322 < record.accuracy.high + 0.1
    assert record.counts.unparsed == 0
