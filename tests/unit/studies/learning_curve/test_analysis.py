from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.core.experiment import Experiment, RetrievalKind
from medtune.core.predictions_io import Evaluation
from medtune.core.records import Outcome
from medtune.studies.learning_curve.analysis import (
    ArmResults,
    build_learning_curve_record,
    pair_contrasts,
)
from medtune.studies.learning_curve.page import render, summarize
from medtune.studies.learning_curve.schema import Arm, LearningCurveRecord, change_book

N = 400
BASE = predictions(N, 0.0, cyclic=False)


def evaluate(accuracy: float, seed: int) -> Evaluation:
    """Answer so many questions rightly, others from seed to seed."""
    right = np.random.default_rng(seed).permutation(N) < accuracy * N
    outcomes = [Outcome.CORRECT if one else Outcome.WRONG for one in right]
    answered = [
        p.model_copy(update={"outcome": outcome}) for p, outcome in zip(BASE, outcomes, strict=True)
    ]
    return evaluation("tuned", answered, "cloze")


TRAINING: Any = SimpleNamespace(steps=10)


def study(
    accuracies: dict[tuple[int, str], float],
    seeds: Sequence[int] = (1,),
    kinds: Sequence[RetrievalKind] = ("none",),
) -> LearningCurveRecord:
    grown = {
        Arm(size=size, selection=selection, retrieval=kind): ArmResults(
            dict.fromkeys(seeds, TRAINING),
            {
                seed: evaluate(accuracy + 0.1 * (kind != "none"), 97 * seed + size + at)
                for seed in seeds
            },
        )
        for kind in kinds
        for at, ((size, selection), accuracy) in enumerate(accuracies.items())
    }
    base = evaluation("base", BASE, "cloze")
    return build_learning_curve_record("c", dict.fromkeys(kinds, base), grown, base[0].data, 1.0)


RISING = {(125, "random"): 0.3, (500, "random"): 0.4, (2000, "random"): 0.5, (8000, "random"): 0.6}


def test_a_curve_says_what_the_next_doubling_buys() -> None:
    record = study(RISING, seeds=(1, 2, 3), kinds=("none", "per-option"))
    closed, opened = record.curves
    assert closed.law is not None
    assert closed.law.sizes == (125, 500, 2000, 8000)
    assert closed.verdict.startswith(
        "random questions (closed book, text, equal epochs): the next doubling, from 8,000 to "
        "16,000, buys +"
    )
    assert "one seed each" not in closed.verdict
    assert closed.law.doubling.low > 0
    assert opened.arm.retrieval == "per-option"
    assert "(per-option passages, text, equal epochs)" in opened.verdict
    shown = [part for part in summarize(record) if isinstance(part, str)]
    page = render(record)
    for curve in record.curves:
        assert curve.verdict in shown
        assert curve.verdict in page
    assert "base model, per-option passages: " in page


def test_a_flat_curve_of_single_seeds_cannot_be_told_and_says_what_it_lacks() -> None:
    record = study(dict.fromkeys(RISING, 0.3))
    (curve,) = record.curves
    assert "what the next doubling buys, from 8,000 to 16,000, cannot be told: " in curve.verdict
    assert "one seed each, whose spread the interval lacks" in curve.verdict
    assert curve.seed_deviation is None


def test_a_falling_curve_is_called_one() -> None:
    found = study({key: 0.9 - accuracy for key, accuracy in RISING.items()}, seeds=(1, 2))
    assert "accuracy falls with more questions" in found.curves[0].verdict


def test_a_curve_that_begins_at_chance_and_then_rises_is_no_power_law() -> None:
    late = dict(zip(RISING, (0.25, 0.25, 0.3, 0.7), strict=True))
    (curve,) = study(late, seeds=(1, 2)).curves
    assert curve.law is not None
    assert curve.law.misfit_p < 0.05
    assert "which do not bend towards a ceiling yet" in curve.verdict
    assert "which deviate from it, p < 0.0001" in curve.verdict


def test_two_sizes_are_not_fitted_and_the_page_says_so() -> None:
    record = study({(8, "random"): 0.3, (32, "random"): 0.4})
    (curve,) = record.curves
    assert curve.law is None
    assert curve.verdict.endswith("no curve is fitted to 2 sizes; it takes 4 or more.")
    assert curve.verdict in render(record)


def test_single_trainings_are_compared_by_mcnemars_test() -> None:
    record = study({(500, "curated"): 0.3, (2000, "random"): 0.45})
    (contrast,) = record.contrasts
    assert (contrast.n, contrast.test) == (N, "exact McNemar")
    few, many = (evaluate(a, 97 + size) for a, size in ((0.3, 500), (0.45, 2001)))
    pairs = [
        (a.outcome is Outcome.CORRECT, b.outcome is Outcome.CORRECT)
        for a, b in zip(few[1], many[1], strict=True)
    ]
    alone = pairs.count((True, False)), pairs.count((False, True))
    assert contrast.p_value == pytest.approx(binomtest(alone[0], sum(alone)).pvalue)
    assert contrast.difference == pytest.approx(0.15)
    assert (
        "2,000 random against 500 curated questions (closed book, text, equal epochs): the 2,000 "
        "are better (+15.0 points, 95 % "
    ) in record.verdict
    assert f"exact McNemar, one training each, p after Holm < 0.0001, n = {N})" in record.verdict


def test_several_seeds_are_compared_by_the_means_of_questions() -> None:
    seeds = (1, 2, 3)
    record = study({(500, "curated"): 0.35, (2000, "random"): 0.35}, seeds)
    (contrast,) = record.contrasts
    assert contrast.test == "paired z"
    less, more = (
        np.mean(
            [
                [p.outcome is Outcome.CORRECT for p in evaluate(0.35, 97 * seed + size)[1]]
                for seed in seeds
            ],
            axis=0,
        )
        for size in (500, 2001)
    )
    # With 400 questions Student's t is as good as normal.
    assert contrast.p_value == pytest.approx(ttest_1samp(more - less, 0).pvalue, abs=0.01)
    assert "no detectable difference" in record.verdict
    assert f"paired z, means of 3 trainings, p after Holm = 1.0000, n = {N})" in record.verdict


def test_the_notebooks_sizes_are_compared_where_both_are_there() -> None:
    arms = [
        Arm(size=size, selection=selection, retrieval=kind)
        for size in (125, 500, 2000, 8000)
        for selection in ("random", "curated")
        for kind in ("none", "per-option")
    ]
    pairs = pair_contrasts(arms)
    assert {(few.size, many.size) for few, many in pairs} == {(500, 2000)}
    assert {(few.retrieval, few.selection) for few, _ in pairs} == {
        (kind, selection) for kind in ("none", "per-option") for selection in ("random", "curated")
    }
    assert all(few.retrieval == many.retrieval for few, many in pairs)
    without = [arm for arm in arms if arm.size != 500]
    assert {(few.size, many.size) for few, many in pair_contrasts(without)} == {(2000, 8000)}
    assert pair_contrasts([Arm(size=5)]) == []
    # Sizes that only the random selection has do not take the place of few selected ones.
    large = [Arm(size=size) for size in (125, 1000, 8000, 32000)]
    curated = [Arm(size=size, selection="curated") for size in (125, 1000)]
    assert {
        (few.selection, few.size, many.size) for few, many in pair_contrasts(large + curated)
    } == {
        ("random", 1000, 32000),
        ("curated", 1000, 32000),
    }


def test_p_values_are_corrected_for_their_number() -> None:
    record = study(
        {
            (500, "random"): 0.3,
            (500, "curated"): 0.31,
            (500, "balanced"): 0.4,
            (2000, "random"): 0.4,
        }
    )
    found = sorted(record.contrasts, key=lambda c: c.p_value)
    assert found[0].p_holm == pytest.approx(3 * found[0].p_value)
    assert all(c.p_holm >= c.p_value for c in found)


def test_a_closed_arm_is_the_same_experiment_with_and_without_an_open_book() -> None:
    plain = Experiment()
    opened = Experiment.model_validate(
        {"retrieval": {"kind": "shared", "query": "stem", "passages": 2}}
    )
    assert change_book(opened, "none") == change_book(plain, "none") == plain
    per_option = change_book(opened, "per-option")
    assert (per_option.retrieval.kind, per_option.retrieval.passages) == ("per-option", 2)
    assert per_option.evaluation.methods == ("cloze",)
    assert Arm(size=5).name == "text-random-5-epochs"
    assert Arm(size=5, retrieval="per-option").name == "per-option-text-random-5-epochs"
