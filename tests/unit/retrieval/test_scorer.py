from __future__ import annotations

import math

import numpy as np
import pytest

from medtune.core.intervals import wilson_interval
from medtune.retrieval.option_features import ALL_FEATURES, PLAIN_FEATURES
from medtune.retrieval.schema import OptionScorer
from medtune.retrieval.scorer import (
    UNFITTED_TEMPERATURE,
    fit_option_scorer,
    option_log_probabilities,
)


def draw(
    n: int, weights: list[float], seed: int = 1
) -> tuple[list[np.ndarray], list[int], list[bool]]:
    """Draw questions of 2 to 5 options whose answers follow a conditional logit."""
    random = np.random.default_rng(seed)
    features, answers, negated = [], [], []
    for at in range(n):
        x = random.normal(0, 3, (random.integers(2, 6), len(weights)))
        flip = at % 4 == 0
        logits = x @ np.array(weights) * (-1 if flip and len(weights) > 1 else 1)
        p = np.exp(logits - logits.max())
        features.append(x)
        answers.append(int(random.choice(len(x), p=p / p.sum())))
        negated.append(flip)
    return features, answers, negated


def test_the_fit_finds_the_temperature_of_the_questions() -> None:
    features, answers, negated = draw(2000, [0.4])
    scorer = fit_option_scorer(features, answers, negated, PLAIN_FEATURES, "drawn")
    assert scorer.weights == pytest.approx((0.4,), abs=0.04)
    assert not scorer.negated
    assert scorer.n == 2000
    logs = [
        option_log_probabilities(scorer, x, False)[a]
        for x, a in zip(features, answers, strict=True)
    ]
    assert scorer.log_loss == pytest.approx(-np.mean(logs))


def test_negated_stems_have_weights_of_their_own() -> None:
    names = ALL_FEATURES[:2]
    features, answers, negated = draw(4000, [0.4, -0.2])
    scorer = fit_option_scorer(features, answers, negated, names, "drawn")
    assert scorer.weights[:2] == pytest.approx((0.4, -0.2), abs=0.05)
    assert scorer.weights[2:] == pytest.approx((-0.8, 0.4), abs=0.1)
    x = np.array([[2.0, 0.0], [0.0, 0.0]])
    assert option_log_probabilities(scorer, x, False).argmax() == 0
    assert option_log_probabilities(scorer, x, True).argmax() == 1


def test_log_probabilities_are_normalised_for_any_number_of_options() -> None:
    features, answers, negated = draw(200, [0.4])
    scorer = fit_option_scorer(features, answers, negated, PLAIN_FEATURES, "drawn")
    for x in features[:20]:
        assert math.fsum(np.exp(option_log_probabilities(scorer, x, True))) == pytest.approx(1)


def test_without_a_scorer_the_first_feature_decides_by_a_fixed_temperature() -> None:
    logs = option_log_probabilities(None, np.array([[5.0, 0.0], [0.0, 9.0]]), False)
    assert logs[0] - logs[1] == pytest.approx(5 / UNFITTED_TEMPERATURE)


def test_options_that_found_nothing_are_equally_likely() -> None:
    logs = option_log_probabilities(None, np.zeros((4, 1)), False)
    assert np.exp(logs) == pytest.approx([0.25] * 4)


def test_a_feature_that_never_varies_gets_a_finite_weight() -> None:
    features = [np.array([[1.0, 7.0], [0.0, 7.0]])] * 10
    scorer = fit_option_scorer(features, [0] * 9 + [1], [False] * 10, ALL_FEATURES[:2], "few")
    assert all(map(math.isfinite, scorer.weights))
    assert scorer.weights[1] == 0


def test_weights_are_as_many_as_features() -> None:
    with pytest.raises(ValueError, match="3 weights for 1 features"):
        OptionScorer(
            features=("best",),
            weights=(1, 2, 3),
            source="x",
            n=1,
            log_loss=1,
            accuracy=wilson_interval(1, 1),
        )
