from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import DataError, PredictionsError
from medtune.core.experiment import CurationConfig
from medtune.core.predictions_io import write_evaluation
from medtune.core.records import Outcome, Prediction, Question
from medtune.core.schemas.dataset import Exclusion
from medtune.data.arrow_table import QuestionTable
from medtune.data.sampling.curate import STRATEGIES, curate

OPTIONS = ("Aspirin", "Warfarin", "Heparin", "Clopidogrel")


def question(number: int = 0, **changes: Any) -> Question:
    fields = {
        "id": f"q{number}",
        "stem": f"Which drug inhibits thing {number}?",
        "options": OPTIONS,
    }
    return Question.model_validate({**fields, "answer": 1, **changes})


def left_out(*questions: Question, **changes: Any) -> dict[str, str]:
    """Apply the strategies that are set; return reason by id."""
    fine = question(999)
    config = CurationConfig.model_validate(changes)
    kept, _, excluded = curate(
        QuestionTable.from_questions([*questions, fine]), config, 17, "file:x"
    )
    reasons = {exclusion.id: exclusion.reason for exclusion in excluded}
    assert set(kept.ids) | set(reasons) == {q.id for q in (*questions, fine)}
    assert not set(kept.ids) & set(reasons)
    return reasons


def test_nothing_is_left_out_unless_asked_for() -> None:
    questions = QuestionTable.from_questions([question(), question(1, stem="?")])
    kept, steps, excluded = curate(questions, CurationConfig(), 17, "file:x")
    assert kept == questions
    assert (steps, excluded) == ((), ())


# Quality


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stem": "Smack is"}, "stem too short"),
        ({"stem": "<><><>[][][]{}{}{}****+++===", "options": ("++--", "--++")}, "too many symbols"),
        ({"stem": "Clue cells are seen in aEUR'"}, "damaged encoding"),
        ({"options": ("HbA1Â°", "x", "y", "z")}, "damaged encoding"),
        ({"stem": "Identify the structure marked by the arrow"}, "points at a picture"),
        ({"stem": "What is the lesion shown in the figure below?"}, "points at a picture"),
        ({"stem": "The image shows which kind of fracture?"}, "points at a picture"),
        ({"options": ("X", "Y", "Both A and B", "None")}, "options name letters"),
        ({"options": ("X", "Y", "A & B", "None")}, "options name letters"),
        ({"options": ("a, b, c", "a, b", "b, c", "All")}, "options name letters"),
        ({"options": ("X", "Y", "Both (a) and (b)", "None")}, "options name letters"),
        (
            {"explanation": "Ans. C: Heparin acts on antithrombin."},
            "explanation names another letter",
        ),
        ({"explanation": "Answer is (a) aspirin"}, "explanation names another letter"),
        ({"explanation": "Ans. is 'd' i.e., Clopidogrel"}, "explanation names another letter"),
    ],
)
def test_a_flaw_is_named(changes: dict[str, Any], reason: str) -> None:
    assert left_out(question(**changes), quality={"on": True}) == {"q0": reason}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stem": "Myoglobin binds to -------------------- molecules of oxygen"},
        {"stem": "A picture of health, his mother said; which vaccine is due?"},
        {"options": ("Vitamin A", "Vitamin B", "A", "B")},
        {"options": ("IgA", "Hepatitis A and Hepatitis C", "Type A or C", "AB")},
        {"explanation": "Ans. B: Warfarin is a vitamin K antagonist."},
        {"explanation": "Ans. is 'a' i.e., Warfarin, of the former edition"},
        {"explanation": "Ans. is a, b and c i.e. all of them"},
        {"explanation": "Ans. is 'a' i.e. Aspirin 'b' i.e. Warfarin"},
        {"explanation": "Answer a question about heparin with care."},
        {"explanation": "A. Aspirin inhibits cyclo-oxygenase."},
        {"answer": None, "explanation": "Ans. C: Heparin"},
    ],
)
def test_a_sound_question_stays(changes: dict[str, Any]) -> None:
    assert left_out(question(**changes), quality={"on": True}) == {}


def test_the_limits_of_quality_are_settings() -> None:
    short = question(stem="Smack is")
    assert left_out(short, quality={"on": True, "min_stem_characters": 8}) == {}
    signs = question(stem="HCO3- + H+ <=> H2CO3 <=> CO2 + H2O")
    assert left_out(signs, quality={"on": True, "max_symbols": 0.1}) == {"q0": "too many symbols"}


# Length, negation


def test_lengths_count_stem_and_options() -> None:
    # 10 + 4 + 4 characters
    exact = question(stem="x" * 10, options=("aaaa", "bbbb"))
    for limits, reason in (
        ({"min_characters": 18, "max_characters": 18}, {}),
        ({"min_characters": 19}, {"q0": "too short"}),
    ):
        found = left_out(exact, length={"max_characters": 100, **limits} | limits)
        assert {name: why for name, why in found.items() if name == "q0"} == reason
    assert left_out(exact, length={"min_characters": 19, "max_characters": 90})["q0"] == "too short"
    assert left_out(question(stem="y" * 200), length={"max_characters": 100}) == {"q0": "too long"}


def test_negation_is_held_to_its_share() -> None:
    negated = [question(n, stem=f"All of these {n} are true except") for n in range(10)]
    others = [question(n) for n in range(10, 29)]  # and the fine one: 20
    found = left_out(*negated, *others, negation={"max_share": 0.2})
    # 5 of 25 are a fifth
    assert len(found) == 5
    assert set(found.values()) == {"over the share of negated stems"}
    assert set(found) < {q.id for q in negated}
    assert left_out(*negated, *others, negation={"max_share": 1}) == {}
    assert len(left_out(*negated, *others, negation={"max_share": 0})) == 10


@settings(max_examples=50)
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0, 1))
def test_the_share_of_negated_stems_is_met_and_no_more_is_left_out(
    negated: int, others: int, share: float
) -> None:
    questions = [question(n, stem=f"Which is not a cause of {n}?") for n in range(negated)]
    questions += [question(100 + n) for n in range(others)]
    found = left_out(*questions, negation={"max_share": share})
    kept = negated - len(found)
    total = kept + others + 1
    assert kept <= share * total + 1e-6
    if found:
        assert kept + 1 > share * (total + 1) - 1e-6


# Difficulty


def reference(folder: Path, probabilities: dict[str, float], scored: bool = True) -> str:
    """Write an evaluation that gave the right option these probabilities."""
    from tests.unit.reports.test_run import ASKED, evaluation

    record, _ = evaluation("base", ASKED[: len(probabilities)], 0)
    predictions = [
        Prediction(
            stem="Why?",
            id=name,
            subject=None,
            options=OPTIONS,
            answer=1,
            chosen=0,
            outcome=Outcome.WRONG,
            probabilities=(0.0, right, 1 - right, 0.0) if scored else None,
        )
        for name, right in probabilities.items()
    ]
    write_evaluation(folder, record, predictions)
    return str(folder)


def test_difficulty_keeps_the_middle(tmp_path: Path) -> None:
    folder = reference(tmp_path, {"q0": 0.01, "q1": 0.5, "q2": 0.99, "q999": 0.4})
    limits = {"predictions": folder, "min_probability": 0.05, "max_probability": 0.9}
    assert left_out(*map(question, range(4)), difficulty=limits) == {
        "q0": "too hard for the reference model",
        "q2": "too easy for the reference model",
        "q3": "no reference score",
    }


def test_a_reference_without_probabilities_or_of_other_questions_is_refused(tmp_path: Path) -> None:
    free = reference(tmp_path / "free", {"q0": 0.5}, scored=False)
    with pytest.raises(DataError, match="holds no probabilities"):
        left_out(question(), difficulty={"predictions": free})
    other = reference(tmp_path / "other", {"z0": 0.5})
    with pytest.raises(DataError, match="holds none of the questions to curate"):
        left_out(question(), difficulty={"predictions": other})
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        left_out(question(), difficulty={"predictions": str(tmp_path / "none")})


# Together


def test_steps_follow_each_other_and_each_leaves_its_reasons() -> None:
    questions = [
        question(0, stem="Smack is"),
        question(1, stem="Which of these drugs, in a very long stem, is not one of them?"),
        question(2, stem="z" * 300),
        question(3),
        question(4),
    ]
    config = CurationConfig.model_validate(
        {
            "quality": {"on": True},
            "length": {"max_characters": 200},
            "negation": {"max_share": 0},
        }
    )
    kept, steps, excluded = curate(QuestionTable.from_questions(questions), config, 17, "file:x")
    assert kept.ids == ["q3", "q4"]
    assert [(s.name, s.before, s.left_out) for s in steps] == [
        ("quality", 5, {"stem too short": 1}),
        ("length", 4, {"too long": 1}),
        ("negation", 3, {"over the share of negated stems": 1}),
    ]
    assert [step.name for step in steps] == [n for n in STRATEGIES if n != "difficulty"]
    assert excluded[0] == Exclusion(source="file:x", id="q0", reason="stem too short")


def test_curation_that_leaves_nothing_is_refused() -> None:
    config = CurationConfig.model_validate({"length": {"max_characters": 3}})
    with pytest.raises(DataError, match="curation by length leaves no question; 1 × too long"):
        curate(QuestionTable.from_questions([question()]), config, 17, "file:x")
