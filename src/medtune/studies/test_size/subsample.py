"""Draw subsamples of a test as counts.

The accuracy of a subsample depends only on how many questions of each kind it contains (right or
wrong; for two models both, one, the other, neither right).  For n questions drawn without
replacement these counts are multivariate hypergeometric, so they are drawn directly: exact, and as
fast for 4,183 questions as for 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from medtune.core.intervals import wilson_interval
from medtune.studies.test_size.schema import SampleSpread

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 1_000
_STREAMS = {"plain": 0, "stratified": 1, "fresh": 2, "bootstrap": 3}


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """Number of questions of each kind, by subject.

    Args:
        subjects: Names, in the order of the rows.
        cells: Counts, `[subject, kind]`; kind 0 is all wrong, bit `i` is set where evaluation `i`
            is right.
    """

    subjects: tuple[str, ...]
    cells: Counts

    @classmethod
    def from_outcomes(
        cls, rights: Sequence[Sequence[bool]], subjects: Sequence[str]
    ) -> SubjectCounts:
        """Count questions.

        Args:
            rights: `[evaluation, question]`.
            subjects: Of the questions.
        """
        names = tuple(dict.fromkeys(subjects))
        place = {name: row for row, name in enumerate(names)}
        cells = np.zeros((len(names), 1 << len(rights)), dtype=np.int64)
        for name, *flags in zip(subjects, *rights, strict=True):
            cells[place[name], sum(flag << bit for bit, flag in enumerate(flags))] += 1
        return cls(names, cells)

    @property
    def total(self) -> Counts:
        """Questions of each kind, `[kind]`."""
        total: Counts = self.cells.sum(axis=0)
        return total

    def draw_plain(self, n: int, draws: int, seed: int) -> Counts:
        """Draw subsamples of n questions without replacement: `[draw, kind]`."""
        return _random_generator("plain", seed, n).multivariate_hypergeometric(
            self.total, n, size=draws, method="marginals"
        )

    def draw_stratified(self, lots: Mapping[str, int], draws: int, seed: int) -> Counts:
        """Draw stratified subsamples without replacement: `[draw, kind]`.

        Args:
            lots: Questions to draw, by subject.
            draws: Number of subsamples.
            seed: Seed of the draws.
        """
        generator = _random_generator("stratified", seed, sum(lots.values()))
        found = np.zeros((draws, self.cells.shape[1]), dtype=np.int64)
        for name, cells in zip(self.subjects, self.cells, strict=True):
            found += generator.multivariate_hypergeometric(
                cells, lots[name], size=draws, method="marginals"
            )
        return found

    def draw_fresh(self, n: int, draws: int, seed: int) -> Counts:
        """Draw n fresh questions with the same probability of each kind: `[draw, kind]`."""
        shares = self.total / self.total.sum()
        return _random_generator("fresh", seed, n).multinomial(n, shares, size=draws)

    def stratified_error(self, lots: Mapping[str, int], bit: int) -> float:
        """Return the theoretical standard error of a stratified accuracy.

        sqrt(sum of (n_h / n)^2 S_h^2 / n_h (1 - n_h / N_h)) over the subjects that are drawn from
        (Cochran 1977, Sampling Techniques, section 5.4).

        Args:
            lots: Questions to draw, by subject.
            bit: Index of the evaluation.
        """
        n = sum(lots.values())
        variance = 0.0
        for name, cells in zip(self.subjects, self.cells, strict=True):
            all_, drawn = int(cells.sum()), lots[name]
            if drawn and all_ > 1:
                rate = int(count_right(cells, bit)) / all_
                scatter = rate * (1 - rate) * all_ / (all_ - 1)
                variance += (drawn / n) ** 2 * scatter / drawn * (1 - drawn / all_)
        return math.sqrt(variance)


def count_right(counts: Counts, bit: int) -> Counts:
    """Count the questions that evaluation `bit` has right: `[..., kind]` to `[...]`."""
    kinds = [kind for kind in range(counts.shape[-1]) if kind >> bit & 1]
    found: Counts = counts[..., kinds].sum(axis=-1)
    return found


def summarize_spread(values: Counts, n: int) -> SampleSpread:
    """Summarize counts out of n as shares.

    Args:
        values: `[draw]`, two draws at least.
        n: Questions in each draw.
    """
    low, high = np.quantile(values, [0.025, 0.975]) / n
    return SampleSpread(
        mean=float(values.mean()) / n,
        deviation=float(values.std(ddof=1)) / n,
        low=float(low),
        high=float(high),
        least=int(values.min()) / n,
        most=int(values.max()) / n,
    )


def correct_finite_population(error: float, n: int, total: int) -> float:
    """Apply the finite population correction to a standard error."""
    return error * math.sqrt((total - n) / (total - 1))


def wilson_intervals(correct: Counts, n: int) -> tuple[Floats, Floats]:
    """Return Wilson 95 % intervals of counts out of n: lower and upper bounds, `[draw]`."""
    values, places = np.unique(correct, return_inverse=True)
    bounds = [wilson_interval(int(value), n) for value in values]
    return (
        np.array([bound.low for bound in bounds])[places],
        np.array([bound.high for bound in bounds])[places],
    )


def mcnemar_p_values(only_a: Counts, only_b: Counts) -> Floats:
    """Return exact two-sided McNemar p-values of pairs of counts, `[draw]`.

    With p = 1/2 the binomial is symmetric, so both tails are twice the smaller one.
    """
    tail = binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5)
    found: Floats = np.minimum(1.0, 2 * tail)
    return found


def bootstrap_deviation_ratio(
    values: Counts, base: Counts, seed: int, n: int
) -> tuple[float, float, float] | None:
    """Return the ratio of two standard deviations, with a bootstrap 95 % interval over the draws.

    Args:
        values: `[draw]`, numerator.
        base: `[draw]`, denominator.
        seed: Seed of the bootstrap.
        n: Questions in each draw.

    Returns:
        Ratio, lower and upper bound; None where the base does not vary.
    """
    below = float(base.std(ddof=1))
    if below == 0:
        return None
    generator = _random_generator("bootstrap", seed, n)
    above, under = _bootstrap_deviations(values, generator), _bootstrap_deviations(base, generator)
    # A resample without variation cannot be a divisor; that needs almost constant draws.
    ratios = above[under > 0] / under[under > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(values.std(ddof=1)) / below, float(low), float(high)


def _bootstrap_deviations(values: Counts, generator: np.random.Generator) -> Floats:
    """Return the standard deviations of bootstrap resamples: `[resample]`.

    There are few distinct counts, so their frequencies are drawn from a multinomial distribution.
    """
    counts, often = np.unique(values, return_counts=True)
    centred = counts - values.mean()
    drawn = generator.multinomial(len(values), often / len(values), size=RESAMPLES) / len(values)
    variance = drawn @ centred**2 - (drawn @ centred) ** 2
    found: Floats = np.sqrt(np.maximum(variance, 0.0))
    return found


def _random_generator(
    stream: Literal["plain", "stratified", "fresh", "bootstrap"], seed: int, n: int
) -> np.random.Generator:
    # Seeded by size: the result of a size does not depend on the other sizes.
    return np.random.default_rng([seed, n, _STREAMS[stream]])
