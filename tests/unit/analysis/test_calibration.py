from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.analysis.calibration import (
    ScoredOptions,
    apply_temperature,
    brier_score,
    calibration_error,
    equal_mass_bins,
    fit_temperature,
    log_loss,
    measure_calibration_error,
    measure_classwise_errors,
    reliability_bins,
)
from medtune.core.errors import PredictionsError
from medtune.core.records import Outcome, Prediction


def scored(*rows: tuple[list[float], int]) -> ScoredOptions:
    return ScoredOptions.from_predictions([prediction(f"q{n}", *row) for n, row in enumerate(rows)])


def prediction(name: str, probabilities: list[float] | None, answer: int) -> Prediction:
    options = 4 if probabilities is None else len(probabilities)
    return Prediction(
        stem="Why?",
        id=name,
        subject=None,
        options=tuple(f"o{n}" for n in range(options)),
        answer=answer,
        chosen=max(range(options), key=(probabilities or [1] * options).__getitem__),
        outcome=Outcome.WRONG,
        probabilities=None if probabilities is None else tuple(probabilities),
    )


def simulated(n: int, temperature: float, seed: int = 0) -> ScoredOptions:
    """Draw answers from known probabilities, and report these at another temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = np.array([rng.choice(4, p=row) for row in true])
    said = np.exp(logits / temperature)
    return ScoredOptions(said / said.sum(axis=1, keepdims=True), answers, np.full(n, 4))


FOUR = (
    ([0.9, 0.1], 0),
    ([0.8, 0.2], 1),
    ([0.6, 0.4], 0),
    ([0.3, 0.3, 0.4], 0),
)


def test_the_likeliest_option_is_chosen() -> None:
    found = scored(*FOUR)
    assert found.chosen.tolist() == [0, 0, 0, 2]
    assert found.confidence.tolist() == [0.9, 0.8, 0.6, 0.4]
    assert found.correct.tolist() == [True, False, True, False]
    assert found.options.tolist() == [2, 2, 2, 3]


def test_what_was_drawn_among_equals_counts_and_stays_at_every_temperature() -> None:
    tied = prediction("tied", [0.4, 0.2, 0.4], 2).model_copy(update={"chosen": 2})
    found = ScoredOptions.from_predictions([tied, prediction("clear", [0.5, 0.3, 0.2], 0)])
    for each in (found, found.scale_temperature(3.0), found.take(np.array([True, True]))):
        assert each.chosen.tolist() == [2, 0]
        assert each.correct.all()


def test_bins_have_equal_mass() -> None:
    said = [0.5 + n / 100 for n in range(40)]
    low, high = reliability_bins(one_by_one(said, [n % 2 == 0 for n in range(40)]), bins=2)
    assert low.confidence == pytest.approx(np.mean(said[:20]))
    assert (low.accuracy.value, low.accuracy.n) == (0.5, 20)
    assert high.confidence == pytest.approx(np.mean(said[20:]))
    assert (high.accuracy.value, high.accuracy.n) == (0.5, 20)


def one_by_one(said: list[float], true: list[bool]) -> ScoredOptions:
    """Questions of two options: the first is the likeliest, and right where `true`."""
    table = np.array([[p, 1 - p] for p in said])
    return ScoredOptions(table, np.where(true, 0, 1), np.full(len(said), 2))


def shuffled(found: ScoredOptions, seed: int) -> ScoredOptions:
    return found.take(np.random.default_rng(seed).permutation(len(found)))


def test_bins_are_fewer_where_they_would_rest_on_few_questions() -> None:
    assert [len(reliability_bins(simulated(n, 1))) for n in (1, 9, 19, 20, 59, 100, 3000)] == [
        *(1, 1, 1, 2, 5, 10, 10)
    ]
    for n in (25, 95, 101, 999):
        sizes = [b.accuracy.n for b in reliability_bins(simulated(n, 1))]
        assert sum(sizes) == n
        assert min(sizes) >= 0.5 * n / len(sizes)


def test_one_confidence_is_one_bin() -> None:
    # Sorted by outcome, the plain error of ten bins was 0.42 here; interleaved it was 0.
    rows = [True] * 70 + [False] * 30
    for order in (rows, rows[::-1], [n % 10 < 7 for n in range(100)]):
        found = one_by_one([0.7] * 100, order)
        (one,) = reliability_bins(found)
        assert one.confidence == pytest.approx(0.7)
        assert one.accuracy.n == 100
        assert calibration_error(found) == 0


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.sampled_from([0.55, 0.6, 0.8, 0.95]), st.booleans()), min_size=1),
    st.integers(0, 99),
)
def test_the_order_of_the_questions_does_not_matter(
    rows: list[tuple[float, bool]], seed: int
) -> None:
    found = one_by_one([p for p, _ in rows], [right for _, right in rows])
    other = shuffled(found, seed)
    assert reliability_bins(other) == reliability_bins(found)
    assert calibration_error(other) == calibration_error(found)
    parts = [b.confidence for b in reliability_bins(found)]
    assert parts == sorted(set(parts))
    bins = equal_mass_bins(found.confidence)
    for value in set(found.confidence.tolist()):
        assert len(set(bins[found.confidence == value].tolist())) == 1


def test_nor_does_it_for_the_interval() -> None:
    found = simulated(60, 0.5)
    assert measure_calibration_error(shuffled(found, 5)) == measure_calibration_error(found)
    assert measure_classwise_errors(shuffled(found, 5)) == measure_classwise_errors(found)


def test_confidences_that_rounding_parts_are_tied() -> None:
    said = [0.7 + 1e-13 * (n % 3) for n in range(60)]
    assert set(equal_mass_bins(np.array(said)).tolist()) == {0}


def test_the_calibration_error_by_hand() -> None:
    # One bin of ten: residuals 0.2 (8 times) and -0.8 (twice), so 1.6 - 1.6 = 0 on average:
    # the square is (0 - (8 * 0.04 + 2 * 0.64)) / 90, below 0.
    assert calibration_error(one_by_one([0.8] * 10, [True] * 8 + [False] * 2)) == 0
    # Residuals 0.4 (4 times) and -0.6 (6 times): (-2)^2 = 4, minus 0.64 + 2.16, over 90.
    found = one_by_one([0.6] * 10, [True] * 4 + [False] * 6)
    assert calibration_error(found) == pytest.approx(math.sqrt((4 - 2.8) / 90))
    # A single question cannot be corrected.
    assert calibration_error(one_by_one([0.7], [True])) == pytest.approx(0.3)


def by_pairs(said: list[float], true: list[bool]) -> float:
    """Average the products of the residuals of all pairs of different questions."""
    residuals = [right - p for p, right in zip(said, true, strict=True)]
    return float(np.mean([a * b for a, b in itertools.permutations(residuals, 2)]))


def ferro_fricker(said: float, true: list[bool]) -> float:
    """Bias-corrected reliability of one forecast value (Ferro and Fricker 2012, equation 8)."""
    n, rate = len(true), float(np.mean(true))
    return (said - rate) ** 2 - rate * (1 - rate) / (n - 1)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0]))
def test_the_error_beside_two_other_ways_of_computing_it(seed: int, temperature: float) -> None:
    found = simulated(19, temperature, seed)  # one bin
    said, true = found.confidence.tolist(), found.correct.tolist()
    assert calibration_error(found) ** 2 == pytest.approx(max(0, by_pairs(said, true)), abs=1e-12)
    # Two forecast values, a bin each.
    rng = np.random.default_rng(seed)
    low, high = (rng.random((2, 12)) < 0.5).tolist()
    squares = (ferro_fricker(0.55, low) + ferro_fricker(0.9, high)) / 2
    both = one_by_one([0.55] * 12 + [0.9] * 12, [*low, *high])
    assert len(reliability_bins(both)) == 2
    assert calibration_error(both) ** 2 == pytest.approx(max(0, squares), abs=1e-12)


@pytest.mark.parametrize("n", [20, 100])
def test_a_perfect_model_is_not_found_wanting(n: int) -> None:
    found = [measure_calibration_error(simulated(n, 1, seed)) for seed in range(120)]
    # 5 % may be; 120 draws give 12 or more by an accident of one in fifty.
    assert sum(one.error > (one.perfect_high or 0) for one in found) < 12
    assert sum((one.error_low or 0) > 0 for one in found) < 12
    # The plain error is 0.13 on 100 questions.
    assert np.mean([one.error for one in found]) < 0.08
    assert np.mean([one.error for one in found]) == pytest.approx(
        np.mean([one.perfect or 0 for one in found]), abs=0.02
    )


@pytest.mark.parametrize(("n", "shown"), [(20, 8), (100, 45)])
def test_a_boasting_model_is(n: int, shown: int) -> None:
    found = [measure_calibration_error(simulated(n, 0.3, seed)) for seed in range(60)]
    assert sum(one.error > (one.perfect_high or 0) for one in found) >= shown


@pytest.mark.parametrize(("n", "temperature"), [(20, 0.4), (100, 0.4), (100, 2.0)])
def test_the_interval_holds_the_error(n: int, temperature: float) -> None:
    missed = [0, 0]
    for seed in range(120):
        found = simulated(n, temperature, seed)
        # What the chosen option's probability really was, bin by bin.
        real = found.scale_temperature(1 / temperature).probabilities.max(axis=1)
        bins = equal_mass_bins(found.confidence)
        gaps = [(real - found.confidence)[bins == b].mean() for b in bins]
        truth = math.sqrt(np.mean(np.square(gaps)))
        one = measure_calibration_error(found)
        assert one.error_low is not None
        assert one.error_high is not None
        assert one.error_low <= one.error <= one.error_high
        missed[0] += truth < one.error_low
        missed[1] += truth > one.error_high
    # 3 each are to be expected; more than 9 are an accident of one in a thousand.
    assert max(missed) <= 9


def test_few_questions_that_are_all_right_prove_little() -> None:
    found = measure_calibration_error(one_by_one([0.95] * 10, [True] * 10))
    assert found.error == pytest.approx(0.05)
    # A model that is right in 3 of 4 cases does this once in 18 times.
    assert found.error_high is not None
    assert found.error_high > 0.15


def test_letters_are_measured_one_by_one() -> None:
    # C is trusted too much by 0.2, D too little; the others mean what they say.
    rng = np.random.default_rng(3)
    said = np.tile([0.1, 0.2, 0.5, 0.2], (2_000, 1))
    answers = rng.choice(4, p=[0.1, 0.2, 0.3, 0.4], size=2_000)
    found = measure_classwise_errors(ScoredOptions(said, answers, np.full(2_000, 4)))
    assert list(found) == list("ABCD")
    assert [one.error > (one.perfect_high or 0) for one in found.values()] == [
        *(False, False, True, True)
    ]
    assert found["C"].error == pytest.approx(0.2, abs=0.03)


def test_a_letter_that_was_not_offered_is_not_measured() -> None:
    table = np.array([[0.6, 0.4, 0.0], [0.5, 0.3, 0.2]] * 15)
    found = measure_classwise_errors(
        ScoredOptions(table, np.array([0, 1] * 15), np.array([2, 3] * 15))
    )
    # C was offered 15 times and never right: its error is 0.2, not 0.1.
    assert found["C"].error == pytest.approx(0.2)


def test_the_brier_score_by_hand() -> None:
    # 2 * 0.01, 2 * 0.64, 2 * 0.16, 0.49 + 0.09 + 0.16
    assert brier_score(scored(*FOUR)) == pytest.approx((0.02 + 1.28 + 0.32 + 0.74) / 4)
    assert brier_score(scored(([1.0, 0.0], 0))) == 0
    assert brier_score(scored(([1.0, 0.0], 1))) == 2


def test_the_log_loss_by_hand() -> None:
    expected = -sum(map(math.log, (0.9, 0.2, 0.6, 0.3))) / 4
    assert log_loss(scored(*FOUR)) == pytest.approx(expected)
    assert log_loss(scored(([1.0, 0.0], 1))) == pytest.approx(-math.log(1e-12))


def test_heating_by_hand() -> None:
    # sqrt(0.64) : sqrt(0.36) = 4 : 3
    found = scored(([0.64, 0.36], 0), ([0.2, 0.3, 0.5], 0)).scale_temperature(2)
    assert found.probabilities[0].tolist() == pytest.approx([4 / 7, 3 / 7, 0])
    assert found.probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert apply_temperature(np.array([0.64, 0.36]), 2).tolist() == pytest.approx([4 / 7, 3 / 7])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    found = simulated(20_000, temperature)
    fitted = fit_temperature(found)
    # What was told at another temperature is told right again.
    assert fitted * temperature == pytest.approx(1, abs=0.05)
    mended = found.scale_temperature(fitted)
    assert calibration_error(mended) < 0.015
    assert log_loss(mended) <= log_loss(found)


def test_a_calibrated_model_has_little_error_and_a_boasting_one_much() -> None:
    assert calibration_error(simulated(20_000, 1)) < 0.015
    assert calibration_error(simulated(20_000, 0.25)) > 0.1


@settings(max_examples=50)
@given(st.floats(0.1, 10), st.integers(0, 20))
def test_heating_changes_no_answer(temperature: float, seed: int) -> None:
    found = simulated(50, 1, seed)
    assert found.scale_temperature(temperature).chosen.tolist() == found.chosen.tolist()


def test_free_text_cannot_be_calibrated() -> None:
    with pytest.raises(PredictionsError, match="1 of 2 predictions have no probabilities"):
        ScoredOptions.from_predictions([prediction("a", [0.5, 0.5], 0), prediction("b", None, 0)])
    with pytest.raises(PredictionsError, match="no prediction"):
        ScoredOptions.from_predictions([])
