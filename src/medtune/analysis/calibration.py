"""Does the model know how often it is right? Calibration error, Brier score, temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from medtune.core.errors import PredictionsError
from medtune.core.findings import ReliabilityBin
from medtune.core.intervals import wilson
from medtune.core.records import Prediction

Floats = NDArray[np.float64]
BINS = 10
_FLOOR = 1e-12
"""Smallest probability whose logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model gave to the options of some questions."""

    probabilities: Floats
    """`[question, option]`; 0 beyond a question's own options."""
    answers: NDArray[np.int64]
    """`[question]`: index of the right option."""
    options: NDArray[np.int64]
    """`[question]`: how many options it has."""
    drawn: NDArray[np.int64] | None = None
    """`[question]`: what was chosen, ties settled by `core.choice`; None takes the likeliest."""

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Scored:
        """Read predictions.

        Raises:
            PredictionsError: There are none, or one has no probabilities (free text).
        """
        if not predictions:
            raise PredictionsError("no prediction to calibrate on", expected="at least one")
        given = [p.probabilities for p in predictions if p.probabilities is not None]
        if len(given) < len(predictions):
            raise PredictionsError(
                f"{len(predictions) - len(given)} of {len(predictions)} predictions have no "
                "probabilities",
                expected="an examination by letter or cloze",
            )
        widths = np.array([len(some) for some in given])
        table = np.zeros((len(given), int(widths.max())))
        for row, some in zip(table, given, strict=True):
            row[: len(some)] = some
        chosen = np.array([p.chosen for p in predictions])
        return cls(table, np.array([p.answer for p in predictions]), widths, chosen)

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def chosen(self) -> NDArray[np.int64]:
        """`[question]`: the option chosen."""
        likeliest = self.probabilities.argmax(axis=1)
        return np.asarray(likeliest if self.drawn is None else self.drawn)

    @property
    def confidence(self) -> Floats:
        """`[question]`: probability of the likeliest option."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """`[question]`: whether the option chosen is the right one."""
        return np.asarray(self.chosen == self.answers)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Scored:
        """Choose questions."""
        drawn = None if self.drawn is None else self.drawn[places]
        return Scored(self.probabilities[places], self.answers[places], self.options[places], drawn)

    def heated(self, temperature: float) -> Scored:
        """Divide the log-probabilities by a temperature: above 1 is less sure."""
        logs = np.log(np.maximum(self.probabilities, _FLOOR)) / temperature
        logs[np.arange(logs.shape[1]) >= self.options[:, None]] = -np.inf
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        return Scored(shares, self.answers, self.options, self.drawn)


def reliability(scored: Scored, bins: int = BINS) -> list[ReliabilityBin]:
    """Group questions by confidence into bins of equal size.

    Equal mass, not equal width: no bin is empty, and none rests on three questions (Nguyen and
    O'Connor 2015, arXiv 1508.05154).  Ties are broken by the order of the questions.
    """
    order = np.argsort(scored.confidence, kind="stable")
    return [
        ReliabilityBin(
            confidence=float(scored.confidence[some].mean()),
            accuracy=wilson(int(scored.right[some].sum()), len(some)),
        )
        for some in np.array_split(order, min(bins, len(scored)))
    ]


def calibration_error(scored: Scored, bins: int = BINS) -> float:
    """Compute the expected calibration error over equal-mass bins (ECE, Naeini et al. 2015).

    Returns:
        Mean distance between confidence and accuracy, weighted by bin size; 0 to 1.
    """
    parts = reliability(scored, bins)
    gaps = [b.accuracy.n * abs(b.confidence - b.accuracy.value) for b in parts]
    return float(sum(gaps)) / len(scored)


def brier(scored: Scored) -> float:
    """Compute the Brier score over all options (Brier 1950): 0 is perfect, 2 the worst."""
    truth = np.zeros_like(scored.probabilities)
    truth[np.arange(len(scored)), scored.answers] = 1
    return float(((scored.probabilities - truth) ** 2).sum(axis=1).mean())


def log_loss(scored: Scored) -> float:
    """Compute the mean negative log-probability of the right option, nats."""
    given = scored.probabilities[np.arange(len(scored)), scored.answers]
    return float(-np.log(np.maximum(given, _FLOOR)).mean())


def fit_temperature(scored: Scored) -> float:
    """Find the temperature that makes the right answers likeliest (Guo et al. 2017).

    Fit it on the calibration split, never on the reported one.  Between 1/20 and 20; it changes
    no answer, only how sure the model is of it.
    """
    found = minimize_scalar(
        lambda log: log_loss(scored.heated(float(np.exp(log)))),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))
