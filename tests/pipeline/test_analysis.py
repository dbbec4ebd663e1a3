from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.analysis.synthetic import evaluation, free, predictions

from medtune.analysis.analyze import (
    COVERAGE_LEVEL,
    CURVE_POINTS,
    RISK_TARGETS,
    analyze_evaluation,
    evaluation_warnings,
    measure_calibration,
)
from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.analysis.order_flips import measure_order_flips
from medtune.analysis.selective_prediction import (
    find_threshold_for_risk,
    fit_conformal_sets,
    risk_coverage,
)
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.records import Method, Outcome, Prediction, Proportion, StemEffect
from medtune.core.schemas.analysis import AnalysisRecord, SelectivePrediction, ThresholdFinding
from medtune.core.schemas.dataset import NO_SUBJECT


def exam(n: int = 300, skill: float = 1.5, **changes: Any) -> Evaluation:
    return evaluation("base", predictions(n, skill, cyclic=False), **changes)


def held(n: int = 300, skill: float = 1.5, **changes: Any) -> Evaluation:
    """Questions of the same kind, none of them the same."""
    return evaluation("base", predictions(n, skill, cyclic=False, tag="c"), **changes)


def selective(record: AnalysisRecord) -> SelectivePrediction:
    assert record.selective is not None
    return record.selective


def answered(n: int, right: int, sure: float = 0.7) -> list[Prediction]:
    """The first so many are right; all are equally sure."""
    rest = (1 - sure) / 3
    made = []
    for number in range(n):
        chosen = number % 4
        answer = chosen if number < right else (chosen + 1) % 4
        made.append(
            Prediction(
                id=f"q{number}",
                stem=f"Which, {number}?",
                options=("One", "Two", "Three", "Four"),
                answer=answer,
                chosen=chosen,
                outcome=Outcome.CORRECT if answer == chosen else Outcome.WRONG,
                probabilities=tuple(sure if i == chosen else rest for i in range(4)),
            )
        )
    return made


def others(given_: list[Prediction]) -> list[Prediction]:
    """Ask other questions that are answered in the same way."""
    return [p.model_copy(update={"id": f"{p.id}c", "stem": f"{p.stem} Else?"}) for p in given_]


# What an evaluation shows on its own


def test_an_analysis_carries_its_evaluation() -> None:
    record, given_ = exam()
    found = analyze_evaluation("e", Evaluation(record, given_))
    assert (found.folder, found.evaluation) == ("e", record)
    assert found.accuracy_answered == wilson_interval(record.counts.correct, 300)
    assert found.calibration == measure_calibration(ScoredOptions.from_predictions(given_))
    assert found.flips is None
    assert {s.dimension for s in found.slices} >= {"subject", "negation", "letter"}
    assert found.weak_subjects == tuple(
        s.name for s in found.slices if s.dimension == "subject" and s.weak
    )
    assert AnalysisRecord.model_validate_json(found.model_dump_json()) == found


def test_without_calibration_questions_nothing_is_fitted() -> None:
    found = selective(analyze_evaluation("e", exam()))
    assert found == SelectivePrediction(curve=found.curve)


def test_all_orders_show_flips() -> None:
    made = predictions(200, 0.5, habit=2.0)
    found = analyze_evaluation("e", evaluation("base", made, orders="cyclic"))
    assert found.flips == measure_order_flips(made)
    assert found.flips is not None
    assert found.flips.any.value > 0.5
    assert any("changes with the order of the options" in line for line in found.warnings)


def test_free_answers_have_no_calibration() -> None:
    made = free(predictions(100, 2.0))
    record, _ = evaluation("base", made, "generate")
    found = analyze_evaluation("e", Evaluation(record, made))
    assert (found.calibration, found.selective, found.flips) == (None, None, None)
    assert found.accuracy_answered == wilson_interval(record.counts.correct, 90)
    assert found.accuracy_answered.value > record.accuracy.value


def test_where_nothing_was_answered_there_is_no_accuracy_of_the_answered() -> None:
    silent = {"chosen": None, "outcome": Outcome.UNPARSED, "text": "Hm.", "reason": "no option"}
    bare = dict.fromkeys(("probabilities", "logprobs", "mass"))
    made = [p.model_copy(update=silent | bare) for p in predictions(40, 1, cyclic=False)]
    found = analyze_evaluation("e", evaluation("base", made, "generate"))
    assert found.accuracy_answered is None
    assert found.evaluation.accuracy.value == 0
    (line,) = [line for line in found.warnings if "name no option" in line]
    assert "40 of 40" in line
    assert {f.name for f in found.failures} >= {"format"}


@pytest.mark.parametrize("right", [0, 1])
def test_a_single_question(right: int) -> None:
    found = analyze_evaluation("e", evaluation("base", answered(1, right)))
    assert found.slices == ()
    curve = selective(found).curve
    assert (curve.coverage, curve.risk) == ((1.0,), (1.0 - right,))
    assert (curve.area, curve.best) == (1 - right, 1 - right)
    assert found.calibration is not None
    assert found.calibration.error == pytest.approx(0.3 if right else 0.7)
    calibrated = selective(analyze_evaluation("e", evaluation("base", answered(1, right)), held()))
    assert calibrated.sets[0].coverage.n == 1


def test_all_right() -> None:
    found = analyze_evaluation("e", evaluation("base", answered(60, 60)), held())
    assert selective(found).curve.area == selective(found).curve.best == 0
    assert found.failures == ()
    assert found.spread.standard_error == 0


def test_all_wrong() -> None:
    found = analyze_evaluation("e", evaluation("base", answered(60, 0)), held())
    assert selective(found).curve.area == selective(found).curve.best == 1


def test_questions_without_a_subject_are_one_group() -> None:
    made = [
        p.model_copy(update={"subject": [None, "", "Skin"][n % 3]})
        for n, p in enumerate(predictions(90, 1, cyclic=False))
    ]
    found = analyze_evaluation("e", evaluation("base", made), held())
    assert [s.accuracy.n for s in found.slices if s.dimension == "subject"] == [60, 30]
    for sets in selective(found).sets:
        assert {name: p.n for name, (p, _) in sets.subjects.items()} == {NO_SUBJECT: 60, "Skin": 30}


# Risk and coverage


def test_the_area_by_hand() -> None:
    # Sureness 0.9 right, 0.8 wrong, 0.7 right, 0.6 wrong: risks 0, 1/2, 1/3, 1/2.
    made = [
        answered(n + 1, n + 1 if right else 0, sure)[n]
        for n, (sure, right) in enumerate([(0.9, True), (0.8, False), (0.7, True), (0.6, False)])
    ]
    curve = selective(analyze_evaluation("e", evaluation("base", made))).curve
    assert curve.coverage == (0.25, 0.5, 0.75, 1.0)
    assert curve.risk == pytest.approx((0, 1 / 2, 1 / 3, 1 / 2))
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # Both right ones first: 0, 0, 1/3, 2/4.
    assert curve.best == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.3, 0.5, 0.500001, 0.8, 1.0])),
        min_size=1,
        max_size=60,
    )
)
def test_no_order_is_better_than_the_best(rows: list[tuple[bool, float]]) -> None:
    made = [answered(n + 1, (n + 1) * right, sure)[n] for n, (right, sure) in enumerate(rows)]
    curve = selective(analyze_evaluation("e", evaluation("base", made))).curve
    assert 0 <= curve.best <= curve.area <= 1
    wrong = sum(not right for right, _ in rows)
    assert curve.risk[-1] == pytest.approx(wrong / len(rows))
    assert curve.coverage[-1] == 1


@pytest.mark.parametrize("n", [2, 199, 200, 201, 202, 999])
def test_the_best_order_has_the_best_area(n: int) -> None:
    right = n // 3
    made = [answered(i + 1, i + 1 if i < right else 0, 0.9 - 0.5 * i / n)[i] for i in range(n)]
    curve = selective(analyze_evaluation("e", evaluation("base", made))).curve
    assert curve.best <= curve.area
    assert curve.best == pytest.approx(curve.area)
    # A long curve is thinned, its ends and its area are not.
    assert len(curve.coverage) == len(curve.risk) <= 2 * CURVE_POINTS
    assert (curve.coverage[0], curve.coverage[-1]) == (1 / n, 1)
    assert curve.area == pytest.approx(risk_coverage(ScoredOptions.from_predictions(made)).area)


# With calibration questions


def test_a_calibrated_analysis_says_on_what() -> None:
    record, given_ = held()
    source = record.data.model_copy(update={"source": "snapshot:s:calibration"})
    found = selective(
        analyze_evaluation(
            "e", exam(), Evaluation(record.model_copy(update={"data": source}), given_)
        )
    )
    assert (found.calibrated_on, found.calibrated_n) == ("snapshot:s:calibration", 300)
    assert tuple(t.target for t in found.thresholds) == RISK_TARGETS
    assert [(s.score, s.level) for s in found.sets] == [
        ("lac", COVERAGE_LEVEL),
        ("aps", COVERAGE_LEVEL),
    ]


@pytest.mark.parametrize("boast", [0.2, 1.0, 5.0])
def test_the_temperature_changes_no_answer_and_mends_the_sureness(boast: float) -> None:
    def boasting(made: list[Prediction]) -> list[Prediction]:
        out = []
        for p in made:
            assert p.probabilities is not None
            weights = [share**boast for share in p.probabilities]
            shares = tuple(weight / math.fsum(weights) for weight in weights)
            out.append(p.model_copy(update={"probabilities": shares}))
        return out

    # Of one model and one kind of questions, many of them.
    whole = boasting(predictions(2000, 1.0, cyclic=False, habit=0))
    other = boasting(predictions(2000, 1.0, cyclic=False, habit=0, tag="c"))
    plain = analyze_evaluation("e", evaluation("base", whole))
    found = analyze_evaluation("e", evaluation("base", whole), evaluation("base", other))
    assert selective(found).curve == selective(plain).curve
    after = selective(found).after
    assert plain.calibration is not None
    assert after is not None
    assert after.log_loss <= plain.calibration.log_loss + 0.003
    assert sum(b.accuracy.value * b.accuracy.n for b in after.bins) == pytest.approx(
        found.evaluation.counts.correct
    )
    temperature = selective(found).temperature
    assert temperature is not None
    scored = ScoredOptions.from_predictions(whole)
    assert (scored.scale_temperature(temperature).chosen == scored.chosen).all()


def test_all_is_fitted_on_the_calibration_questions_and_reported_on_the_others() -> None:
    # Of other skills, so that it matters on which it is fitted.
    mine, theirs = exam(400, 1.0), held(300, 3.0)
    found = selective(analyze_evaluation("e", mine, theirs))
    temperature = fit_temperature(ScoredOptions.from_predictions(theirs[1]))
    assert found.temperature == temperature
    assert abs(temperature - fit_temperature(ScoredOptions.from_predictions(mine[1]))) > 0.05
    here, there = (
        ScoredOptions.from_predictions(given_).scale_temperature(temperature)
        for _, given_ in (mine, theirs)
    )
    assert found.after == measure_calibration(here)
    assert [t.found for t in found.thresholds] == [
        find_threshold_for_risk(there, t) for t in RISK_TARGETS
    ]
    assert any(t.found is not None for t in found.thresholds)
    for sets in found.sets:
        assert (sets.coverage, sets.size) == fit_conformal_sets(
            there, COVERAGE_LEVEL, sets.score
        ).measure_coverage(here)


def drawn(n: int, seed: int, tag: str) -> list[Prediction]:
    """Draw answers from the very probabilities that are told: exchangeable, and not easy."""
    rng = np.random.default_rng([seed, len(tag)])
    # Some questions are out of reach, some hard, some known.
    logits = rng.normal(size=(n, 4)) * rng.choice([0.5, 2.0, 8.0], size=(n, 1))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    made = []
    for number, row in enumerate(shares):
        answer, chosen = int(rng.choice(4, p=row)), int(row.argmax())
        made.append(
            Prediction(
                id=f"{tag}{number}",
                stem=f"Which, {tag}{number}?",
                options=("One", "Two", "Three", "Four"),
                answer=answer,
                chosen=chosen,
                outcome=Outcome.CORRECT if answer == chosen else Outcome.WRONG,
                probabilities=tuple(row.tolist()),
            )
        )
    return made


def true_risk(finding: ThresholdFinding, found: SelectivePrediction) -> float | None:
    """Say what a threshold risks on more questions than an evaluation has."""
    if finding.found is None:
        return None
    assert found.temperature is not None
    scaled = many().scale_temperature(found.temperature)
    sure = scaled.confidence >= finding.found.confidence
    return float((~scaled.correct[sure]).mean()) if sure.any() else 0.0


@cache
def many() -> ScoredOptions:
    return ScoredOptions.from_predictions(drawn(20_000, 99, "many"))


def test_promises_are_kept_as_often_as_they_say() -> None:
    repetitions = 100
    assert 1 - many().correct.mean() > max(RISK_TARGETS)  # nothing is kept for nothing
    broken, given_ = dict.fromkeys(RISK_TARGETS, 0), dict.fromkeys(RISK_TARGETS, 0)
    covered: dict[str, list[float]] = {"lac": [], "aps": []}
    for seed in range(repetitions):
        found = selective(
            analyze_evaluation(
                "e",
                evaluation("base", drawn(100, seed, "e")),
                evaluation("base", drawn(200, seed, "cc")),
            )
        )
        for finding in found.thresholds:
            risk = true_risk(finding, found)
            if risk is None:
                continue
            given_[finding.target] += 1
            broken[finding.target] += risk > finding.target
            assert finding.found is not None
            assert finding.found.bound <= finding.target
        for sets in found.sets:
            covered[sets.score].append(sets.coverage.value)
    for target in RISK_TARGETS[1:]:
        assert given_[target] > repetitions / 2
        # 5 % of 100 are 5; more than 11 would be an accident of one in two hundred.
        assert broken[target] <= 11, target
    for score, values in covered.items():
        # 0.9 to 0.9 + 1 / 201; a mean of 100 has a standard error of about 0.0037.
        assert 0.89 <= float(np.mean(values)) <= 0.93, score


def test_what_a_threshold_did_is_counted_here() -> None:
    found = selective(analyze_evaluation("e", exam(500, 2.5), held(500, 2.5)))
    assert found.temperature is not None
    here = ScoredOptions.from_predictions(exam(500, 2.5)[1]).scale_temperature(found.temperature)
    held_back = 0
    for finding in found.thresholds:
        if finding.found is None:
            assert finding.answered is finding.risk is None
            held_back += 1
            continue
        sure = here.confidence >= finding.found.confidence
        assert finding.answered == wilson_interval(int(sure.sum()), 500)
        assert finding.risk == wilson_interval(int((~here.correct[sure]).sum()), int(sure.sum()))
    assert held_back < len(RISK_TARGETS)


def test_a_threshold_that_lets_nothing_through_has_no_risk() -> None:
    # Calibrated on a sure model, reported on a doubtful one.
    sure = evaluation("base", others(answered(200, 195)))
    doubtful = evaluation("base", answered(50, 30, sure=0.3))
    finding = selective(analyze_evaluation("e", doubtful, sure)).thresholds[-1]
    assert finding.found is not None
    assert finding.answered is not None
    assert finding.answered.value == 0
    assert finding.risk is None


@pytest.mark.parametrize(("n", "sets"), [(1, 0), (8, 0), (9, 2), (10, 2)])
def test_too_few_calibration_questions_leave_the_sets_out_and_say_so(n: int, sets: int) -> None:
    found = analyze_evaluation("e", exam(), held(n))
    assert len(selective(found).sets) == sets
    assert selective(found).calibrated_n == n
    assert len(selective(found).thresholds) == len(RISK_TARGETS)
    lines = [line for line in found.warnings if "calibration questions are too few" in line]
    assert len(lines) == (0 if sets else 1)
    if lines:
        assert lines[0].startswith(f"{n} calibration questions")
        assert "90 %" in lines[0]


@pytest.mark.parametrize("right", [0, 200])
def test_calibration_questions_that_are_all_alike_do_not_break_it(right: int) -> None:
    other = others(answered(200, right))
    found = selective(analyze_evaluation("e", exam(), evaluation("base", other)))
    assert found.temperature is not None
    assert 0.05 <= found.temperature <= 20
    assert found.after is not None
    assert all(t.found is None for t in found.thresholds) == (right == 0)


def record_changes(**changes: Any) -> dict[str, Any]:
    return {"model": exam()[0].model.model_copy(update=changes)}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (record_changes(fingerprint="other"), "model"),
        (record_changes(adapter="b" * 64), "model"),
        (record_changes(dtype="float16"), "arithmetic"),
        ({"method": "cloze"}, "method"),
        ({"normalization": "token"}, "normalization"),
        ({"orders": "cyclic"}, "orders of the options"),
        ({"prompt_hash": "q" * 64}, "prompt"),
        ({"shots": 3, "shots_by": "fixed"}, "worked examples"),
        ({"variant": "options-only"}, "variant of the questions"),
    ],
)
def test_a_calibration_of_another_exam_is_refused(changes: dict[str, Any], what: str) -> None:
    record, given_ = held()
    with pytest.raises(PredictionsError) as caught:
        analyze_evaluation("e", exam(), Evaluation(record.model_copy(update=changes), given_))
    assert caught.value.found == f"the calibration differs from the evaluation in its {what}"
    assert "calibration split" in caught.value.fix


def test_another_device_or_name_of_the_same_weights_is_the_same_model() -> None:
    record, given_ = held()
    moved = record.model_copy(update=record_changes(device="cuda:0", source="path:copy"))
    assert (
        selective(analyze_evaluation("e", exam(), Evaluation(moved, given_))).temperature
        is not None
    )


def test_calibrating_on_evaluated_questions_is_refused() -> None:
    _, given_ = exam()
    mixed = evaluation("base", [*held(50)[1], *given_[7:9]])
    with pytest.raises(PredictionsError) as caught:
        analyze_evaluation("e", exam(), mixed)
    assert caught.value.found.startswith("2 calibration questions are among the evaluated ones")
    assert given_[7].id in caught.value.found
    with pytest.raises(PredictionsError, match="300 calibration questions"):
        analyze_evaluation("e", exam(), exam())


@pytest.mark.parametrize("other", ["generate", "letter"])
def test_free_answers_are_not_calibrated_in_silence(other: Method) -> None:
    made = free(predictions(60, 1))
    given_ = evaluation("base", made, "generate")
    with pytest.raises(PredictionsError, match="free answers have no probabilities") as caught:
        analyze_evaluation("e", given_, held(method=other))
    assert "letter or cloze" in caught.value.expected


def test_free_answers_do_not_calibrate_scored_ones() -> None:
    made = free(predictions(60, 1, tag="c"))
    with pytest.raises(PredictionsError, match="in its method"):
        analyze_evaluation("e", exam(), evaluation("base", made, "generate"))


def test_scored_answers_without_probabilities_are_refused() -> None:
    made = [p.model_copy(update={"probabilities": None}) for p in answered(5, 3)]
    with pytest.raises(PredictionsError, match="5 of 5 predictions have no probabilities"):
        analyze_evaluation("e", evaluation("base", made))


# Warnings


def proportion(correct: int, n: int = 300) -> dict[str, Any]:
    return {"accuracy": wilson_interval(correct, n)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean_mass": 0.049}, "only 4.9 % of the probability lies on the letters"),
        ({"letters_chosen": {"A": 240, "B": 60}}, "the model chose A on 240 of 300 questions"),
        (
            {"majority": wilson_interval(200, 300), **proportion(200)},
            "not shown to be above always giving",
        ),
        (
            {"options_only": wilson_interval(130, 250), **proportion(160)},
            "without the stem 52.0 % (45.8–58.1, n = 250) are still right, chance gives 25.0 %; "
            "with the stem 53.3 % (47.7–58.9, n = 300): the stem adds +1.3 points. "
            "The options alone may explain its accuracy.",
        ),
    ],
)
def test_what_a_reader_must_know_is_said(changes: dict[str, Any], words: str) -> None:
    plain = {
        "majority": wilson_interval(60, 300),
        "letters_chosen": {"A": 150, "B": 150},
        **proportion(250),
    }
    record = exam()[0].model_copy(update=plain)
    assert evaluation_warnings(record, None) == []
    (line,) = evaluation_warnings(record.model_copy(update=changes), None)
    assert words in line


def told(
    blind: Proportion, majority: int = 60, right: int = 250, effect: StemEffect | None = None
) -> list[str]:
    plain = {
        "majority": wilson_interval(majority, 300),
        "letters_chosen": {"A": 150},
        **proportion(right),
    }
    stem = {"options_only": blind, "stem_effect": effect}
    return evaluation_warnings(exam()[0].model_copy(update=plain | stem), None)


def test_a_baseline_at_chance_explains_nothing() -> None:
    assert told(wilson_interval(75, 300)) == []


def test_options_only_is_held_against_the_majority_letter() -> None:
    # 40 % (34.6 to 45.6) lies above chance, 25 %: but always giving one letter gives as much.
    assert told(wilson_interval(120, 300), majority=117) == []
    (line,) = told(wilson_interval(120, 300), majority=90)
    assert "without the stem 40.0 % (34.6–45.6, n = 300) are still right, always giving" in line
    assert "30.0 %" in line
    assert line.endswith("The options alone explain a part of its accuracy.")


def test_the_stem_is_tested_on_the_same_questions() -> None:
    # 50.0 and 56.0 %: their intervals overlap, but only ten questions were right without it alone.
    effect = StemEffect(
        with_stem=wilson_interval(168, 300), only_with=28, only_without=10, p_value=0.005
    )
    (line,) = told(wilson_interval(150, 300), right=180, effect=effect)
    assert "with the stem 56.0 %" in line
    assert "the stem adds +6.0 points (exact McNemar p = 0.0050)" in line
    assert line.endswith("The options alone explain a part of its accuracy.")
    (line,) = told(
        wilson_interval(150, 300), right=180, effect=effect.model_copy(update={"p_value": 0.06})
    )
    assert line.endswith("The options alone may explain its accuracy.")


def test_a_temperature_on_its_bound_is_no_estimate() -> None:
    found = analyze_evaluation("e", evaluation("base", answered(60, 0)), held())
    assert not any("temperature" in line for line in found.warnings)
    for right, ends in ((200, "of 0.05"), (0, "of 20")):
        sure = evaluation("base", others(answered(200, right)))
        (line,) = (
            line
            for line in analyze_evaluation("e", exam(), sure).warnings
            if "lies at a bound of the search (0.05 to 20)" in line
        )
        assert f"temperature {ends}" in line


def test_the_same_questions_under_other_ids_are_refused() -> None:
    record, given_ = exam()
    shuffled = [
        p.model_copy(
            update={
                "id": f"other-{p.id}",
                "stem": p.stem.upper() + " ",
                "options": p.options[::-1],
                "answer": 3 - p.answer,
            }
        )
        for p in given_[:40]
    ]
    with pytest.raises(PredictionsError, match="40 calibration questions are among") as caught:
        analyze_evaluation(
            "e", Evaluation(record, given_), evaluation("base", [*held(50)[1], *shuffled])
        )
    assert "which is q-" in caught.value.found


# Against other libraries, on probabilities without chance: softmax of 3 sin(1.7 i + 2.3 j), the
# likeliest option right in six of ten rows.


def waves(n: int, a: float, b: float, shift: float = 0.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    logits = np.array([[3 * math.sin(a * i + b * j + shift) for j in range(4)] for i in range(n)])
    weights: np.ndarray[Any, np.dtype[np.float64]] = np.exp(logits)
    shares: np.ndarray[Any, np.dtype[np.float64]] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def reference() -> ScoredOptions:
    shares = waves(40, 1.7, 2.3)
    answers = [
        int(row.argmax()) if 7 * i % 10 < 6 else (3 * i + 1) % 4 for i, row in enumerate(shares)
    ]
    return ScoredOptions(shares, np.array(answers), np.full(40, 4))


def test_proper_scores_agree_with_scikit_learn() -> None:
    found = measure_calibration(reference())
    assert int(reference().correct.sum()) == 27
    # By hand: four bins of ten; of each mean residual squared its variance, var(ddof=1) / 10, off.
    assert found.error == pytest.approx(0.21469989034502496, abs=1e-12)
    # brier_score_loss(answers, shares, labels=range(4), scale_by_half=False)
    assert found.brier == pytest.approx(0.6302970053890754, abs=1e-12)
    # log_loss(answers, shares, labels=range(4))
    assert found.log_loss == pytest.approx(1.4731513073752538, abs=1e-12)


def test_prediction_sets_agree_with_crepes_and_mapie() -> None:
    later = ScoredOptions(waves(30, 1.1, 1.9, 0.5), np.zeros(30, dtype=np.int64), np.full(30, 4))
    lac = fit_conformal_sets(reference(), 0.9, "lac")
    # MAPIE 1.6.0, SplitConformalClassifier(conformity_score="lac"): its quantile and set sizes;
    # crepes 0.9.1, ConformalClassifier.predict_set(smoothing=False), has the same sizes.
    assert lac.quantile == pytest.approx(0.99097664, abs=1e-8)
    sizes = "333323323323333223333233233233"
    assert lac.predict_sets(later).sum(axis=1).tolist() == [int(size) for size in sizes]


def test_adaptive_sets_agree_with_a_plain_count() -> None:
    # MAPIE draws by lot in its aps scores: held against another way of counting instead.
    shares, answers = reference().probabilities, reference().answers
    own = sorted(
        math.fsum(share for share in row if share >= row[answer])
        for row, answer in zip(shares.tolist(), answers, strict=True)
    )
    # ceil(41 * 0.9) = 37
    assert fit_conformal_sets(reference(), 0.9, "aps").quantile == pytest.approx(own[36], abs=1e-12)
