from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.analysis.calibration import (
    Scored,
    brier,
    calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)
from medtune.core.errors import PredictionsError
from medtune.core.records import Outcome, Prediction


def scored(*rows: tuple[list[float], int]) -> Scored:
    return Scored.of([prediction(f"q{n}", *row) for n, row in enumerate(rows)])


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


def simulated(n: int, temperature: float, seed: int = 0) -> Scored:
    """Draw answers from known probabilities, and report these at another temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = np.array([rng.choice(4, p=row) for row in true])
    said = np.exp(logits / temperature)
    return Scored(said / said.sum(axis=1, keepdims=True), answers, np.full(n, 4))


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
    assert found.right.tolist() == [True, False, True, False]
    assert found.options.tolist() == [2, 2, 2, 3]


def test_what_was_drawn_among_equals_counts_and_stays_at_every_temperature() -> None:
    tied = prediction("tied", [0.4, 0.2, 0.4], 2).model_copy(update={"chosen": 2})
    found = Scored.of([tied, prediction("clear", [0.5, 0.3, 0.2], 0)])
    for each in (found, found.heated(3.0), found.take(np.array([True, True]))):
        assert each.chosen.tolist() == [2, 0]
        assert each.right.all()


def test_bins_have_equal_mass() -> None:
    low, high = reliability(scored(*FOUR), bins=2)
    # 0.4 (wrong) and 0.6 (right); 0.8 (wrong) and 0.9 (right)
    assert (low.confidence, low.accuracy.value, low.accuracy.n) == (0.5, 0.5, 2)
    assert high.confidence == pytest.approx(0.85)
    assert (high.accuracy.value, high.accuracy.n) == (0.5, 2)


def test_the_calibration_error_by_hand() -> None:
    # |0.5 - 0.5| and |0.85 - 0.5|, weights 1/2
    assert calibration_error(scored(*FOUR), bins=2) == pytest.approx(0.175)
    # one bin each: 0.1, 0.8, 0.4, 0.4
    assert calibration_error(scored(*FOUR), bins=10) == pytest.approx(1.7 / 4)


def test_the_brier_score_by_hand() -> None:
    # 2 * 0.01, 2 * 0.64, 2 * 0.16, 0.49 + 0.09 + 0.16
    assert brier(scored(*FOUR)) == pytest.approx((0.02 + 1.28 + 0.32 + 0.74) / 4)
    assert brier(scored(([1.0, 0.0], 0))) == 0
    assert brier(scored(([1.0, 0.0], 1))) == 2


def test_the_log_loss_by_hand() -> None:
    expected = -sum(map(math.log, (0.9, 0.2, 0.6, 0.3))) / 4
    assert log_loss(scored(*FOUR)) == pytest.approx(expected)
    assert log_loss(scored(([1.0, 0.0], 1))) == pytest.approx(-math.log(1e-12))


def test_heating_by_hand() -> None:
    # sqrt(0.64) : sqrt(0.36) = 4 : 3
    found = scored(([0.64, 0.36], 0), ([0.2, 0.3, 0.5], 0)).heated(2)
    assert found.probabilities[0].tolist() == pytest.approx([4 / 7, 3 / 7, 0])
    assert found.probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    found = simulated(20_000, temperature)
    fitted = fit_temperature(found)
    # What was told at another temperature is told right again.
    assert fitted * temperature == pytest.approx(1, abs=0.05)
    mended = found.heated(fitted)
    assert calibration_error(mended) < 0.015
    assert log_loss(mended) <= log_loss(found)


def test_a_calibrated_model_has_little_error_and_a_boasting_one_much() -> None:
    assert calibration_error(simulated(20_000, 1)) < 0.015
    assert calibration_error(simulated(20_000, 0.25)) > 0.1


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 20))
def test_heating_changes_no_answer(temperature: float, seed: int) -> None:
    found = simulated(50, 1, seed)
    assert found.heated(temperature).chosen.tolist() == found.chosen.tolist()


def test_free_text_cannot_be_calibrated() -> None:
    with pytest.raises(PredictionsError, match="1 of 2 predictions have no probabilities"):
        Scored.of([prediction("a", [0.5, 0.5], 0), prediction("b", None, 0)])
    with pytest.raises(PredictionsError, match="no prediction"):
        Scored.of([])
