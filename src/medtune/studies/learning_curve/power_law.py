"""Fit a power law of the number of training questions to accuracies on the same questions.

accuracy(n) = ceiling - rest * (n / N) ** -exponent, with N the largest size: `rest` is what the law
leaves to gain at N.  Hestness et al. 2017 (arXiv 1712.00409) review such laws of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import InputError
from medtune.studies.learning_curve.schema import Estimate, PowerLaw

MIN_SIZES = 4
"""A law has three parameters; a fourth size can contradict it."""
EXPONENTS = np.geomspace(0.02, 2, 100)
"""From as good as linear in log n to a curve that is flat after one doubling."""
DRAWS = 2000
SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CurveNoise:
    """Errors of the accuracies of a curve."""

    questions: Floats
    """Covariance over questions, `[size, size]`: all sizes are asked the same ones."""
    trainings: Floats
    """Variance of the means over seeds on these questions, by size; 0 where it is unknown."""
    freedom: int = 0
    """Degrees of freedom of the variance between seeds; 0 where it is unknown."""
    seed_deviation: float | None = None
    """Standard deviation between seeds on these questions; None where no size has two."""

    @classmethod
    def estimate(cls, outcomes: Sequence[Floats]) -> CurveNoise:
        """Estimate the errors; questions and seeds are crossed.

        The variance between seeds is pooled over the sizes.  It has the noise of single answers,
        is therefore never below it, and this is taken from the covariance of the question means.
        As one question more or less may always be right, 1 / n**2 is added to that.

        Args:
            outcomes: Whether each answer is right, by size, `[seed, question]`; n is the same.
        """
        n = outcomes[0].shape[1]
        questions = np.atleast_2d(np.cov([right.mean(axis=0) for right in outcomes])) / n
        floor = np.eye(len(outcomes)) / n**2
        repeated = [right for right in outcomes if len(right) > 1]
        if not repeated:
            return cls(questions + floor, np.zeros(len(outcomes)))
        shares = np.array([1 / len(right) for right in outcomes])
        freedom = [len(right) - 1 for right in repeated]
        between = [right.mean(axis=1).var(ddof=1) for right in repeated]
        noise = np.average([_answer_noise(right) for right in repeated], weights=freedom) / n
        variance = max(float(np.average(between, weights=freedom)), float(noise))
        values, vectors = np.linalg.eigh(questions - np.diag(shares * noise))
        questions = (vectors * values.clip(0)) @ vectors.T
        return cls(questions + floor, shares * variance, sum(freedom), variance**0.5)

    @property
    def covariance(self) -> Floats:
        """Covariance of the accuracies, `[size, size]`."""
        return np.asarray(self.questions + np.diag(self.trainings))

    def draw(self, draws: int) -> Floats:
        """Draw errors, `[draw, size]`; those of trainings as uncertain as their variance is."""
        lots = np.random.default_rng(SEED)
        shape = (draws, len(self.questions))
        errors = lots.standard_normal(shape) @ np.linalg.cholesky(self.questions).T
        if self.freedom:
            scale = np.sqrt(self.freedom / lots.chisquare(self.freedom, (draws, 1)))
            errors += scale * np.sqrt(self.trainings) * lots.standard_normal(shape)
        return np.asarray(errors)


def fit_power_law(
    sizes: Sequence[int], accuracies: Sequence[float], noise: CurveNoise, draws: int = DRAWS
) -> PowerLaw:
    """Fit the law by generalized least squares, with 95 % intervals by parametric bootstrap.

    The ceiling lies between 0 and 1.  `rest` is negative where accuracy falls with more questions.
    Intervals are percentiles of fits to draws around the fitted curve.

    Args:
        sizes: Numbers of training questions.
        accuracies: Accuracy by size, 0 to 1.
        noise: Errors of the accuracies.
        draws: Draws of the bootstrap.

    Raises:
        InputError: There are fewer than `MIN_SIZES` sizes.
    """
    from scipy.stats import chi2

    if len(sizes) < MIN_SIZES:
        raise InputError(
            f"{len(sizes)} sizes", expected=f"{MIN_SIZES} or more, to fit a curve to them"
        )
    n = np.asarray(sizes, dtype=np.float64) / max(sizes)
    root = np.asarray(np.linalg.cholesky(noise.covariance), dtype=np.float64)
    found, misfit = _fit(np.asarray([accuracies], dtype=np.float64), n, root)
    ceiling, rest, exponent = found[:, 0]
    drawn, _ = _fit(ceiling - rest * n**-exponent + noise.draw(draws), n, root)
    whole, every = np.vstack([found, _doubling(found)]), np.vstack([drawn, _doubling(drawn)])
    low, high = np.quantile(every, [0.025, 0.975], axis=1)
    # A percentile interval need not contain an estimate at the edge of what is possible.
    low, high = np.minimum(low, whole[:, 0]), np.maximum(high, whole[:, 0])
    estimates = [
        Estimate(value=float(value), low=float(a), high=float(b))
        for value, a, b in zip(whole[:, 0], low, high, strict=True)
    ]
    return PowerLaw(
        sizes=tuple(sizes),
        ceiling=estimates[0],
        rest=estimates[1],
        exponent=estimates[2],
        doubling=estimates[3],
        misfit_p=float(chi2.sf(misfit[0], len(n) - 3)),
    )


def _answer_noise(right: Floats) -> float:
    """Return the variance of single answers beside question and seed, `[seed, question]`."""
    by_seed, by_question = right.mean(axis=1, keepdims=True), right.mean(axis=0, keepdims=True)
    seeds, n = right.shape
    left = right - by_seed - by_question + right.mean()
    return float((left**2).sum() / ((seeds - 1) * (n - 1)))


def _fit(accuracies: Floats, n: Floats, root: Floats) -> tuple[Floats, Floats]:
    """Fit laws to several curves: least squares for every exponent, of which the best is kept.

    Args:
        accuracies: `[curve, size]`.
        n: Sizes, relative to the largest.
        root: Cholesky factor of the covariance.

    Returns:
        Ceiling, rest and exponent, `[3, curve]`, and the weighted sum of squares, `[curve]`.
    """
    y = np.linalg.solve(root, accuracies.T)
    one = np.linalg.solve(root, np.ones_like(n))
    falls = -np.linalg.solve(root, n[:, None] ** -EXPONENTS).T
    level, slope = one @ y, falls @ y
    cross, square = (falls @ one)[:, None], (falls**2).sum(axis=1)[:, None]
    ceiling = (level * square - slope * cross) / (one @ one * square - cross**2)
    # The squares are convex: where the best ceiling is impossible, the nearest possible one is.
    ceiling = ceiling.clip(0, 1)
    rest = (slope - ceiling * cross) / square
    fitted = ceiling**2 * (one @ one) + 2 * ceiling * rest * cross + rest**2 * square
    squares = (y**2).sum(axis=0) - 2 * (ceiling * level + rest * slope) + fitted
    best = squares.argmin(axis=0), np.arange(len(accuracies))
    return np.stack([ceiling[best], rest[best], EXPONENTS[best[0]]]), squares[best].clip(0)


def _doubling(law: Floats) -> Floats:
    """Return what twice the largest size adds to the accuracy, `[curve]`."""
    _, rest, exponent = law
    return np.asarray(rest * (1 - 2**-exponent))
