from __future__ import annotations

import math

import numpy as np
import pytest

from medtune.retrieval.scorer import fit_conditional_logit, fit_option_scorer


def draw(weights: list[float], n: int = 4000, seed: int = 3) -> tuple[list[np.ndarray], list[int]]:
    """Draw questions of three or four options whose answers follow a conditional logit."""
    lots = np.random.default_rng(seed)
    rows, answers = [], []
    for at in range(n):
        x = lots.normal(size=(3 + at % 2, len(weights)))
        shares = np.exp(x @ np.array(weights))
        rows.append(x)
        answers.append(int(lots.choice(len(x), p=shares / shares.sum())))
    return rows, answers


def test_finds_the_weights_that_made_the_answers() -> None:
    rows, answers = draw([1.5, -0.7])
    found = fit_conditional_logit(rows, answers)
    assert found.weights == pytest.approx([1.5, -0.7], abs=0.1)
    assert [len(logs) for logs in found.logs[:4]] == [3, 4, 3, 4]
    for logs in found.logs:
        assert float(np.exp(logs).sum()) == pytest.approx(1.0)
    right = [logs[answer] for logs, answer in zip(found.logs, answers, strict=True)]
    assert found.log_loss == pytest.approx(-float(np.mean(right)))


def test_a_smallest_weight_is_kept() -> None:
    rows, answers = draw([1.5, -0.7])
    free, bound = fit_conditional_logit(rows, answers), fit_conditional_logit(rows, answers, 0.0)
    assert bound.weights[1] == 0.0
    assert bound.weights[0] > 1
    assert free.log_loss < bound.log_loss < math.log(4)


def test_the_scorer_of_options_has_the_same_weights() -> None:
    rows, answers = draw([0.8], n=500)
    scorer = fit_option_scorer(rows, answers, [False] * len(rows), ("best",), "file:a.csv")
    assert scorer.weights == fit_conditional_logit(rows, answers).weights
    assert scorer.accuracy.n == scorer.n == 500
    assert scorer.accuracy.value > 0.4
