"""Subsamples of a test, drawn as counts.

A subsample changes an accuracy only through how many of each kind of question it holds (right or
wrong; for two models both, one, the other, neither right).  For n questions drawn without
replacement these counts are multivariate hypergeometric, so they are drawn themselves, without
the questions: exact, and as fast for 4,183 questions as for 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from medtune.core.intervals import wilson
from medtune.studies.test_size.schema import SampleSpread

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 1_000
_STREAMS = {"plain": 0, "stratified": 1, "fresh": 2, "bootstrap": 3}


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """How many questions of each kind there are, by subject.

    Args:
        subjects: Names, in the order of the rows.
        cells: Counts, `[subject, kind]`; kind 0 is all wrong, bit `i` is set where evaluation `i`
            is right.
    """

    subjects: tuple[str, ...]
    cells: Counts

    @classmethod
    def of(cls, rights: Sequence[Sequence[bool]], subjects: Sequence[str]) -> SubjectCounts:
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

    def plain(self, n: int, draws: int, seed: int) -> Counts:
        """Draw n questions without replacement, again and again: `[draw, kind]`."""
        return _generator("plain", seed, n).multivariate_hypergeometric(
            self.total, n, size=draws, method="marginals"
        )

    def stratified(self, lots: Mapping[str, int], draws: int, seed: int) -> Counts:
        """Draw a fixed number of each subject's questions without replacement: `[draw, kind]`.

        Args:
            lots: Questions to draw, by subject.
            draws: How many subsamples.
            seed: Of the draws.
        """
        generator = _generator("stratified", seed, sum(lots.values()))
        found = np.zeros((draws, self.cells.shape[1]), dtype=np.int64)
        for name, cells in zip(self.subjects, self.cells, strict=True):
            found += generator.multivariate_hypergeometric(
                cells, lots[name], size=draws, method="marginals"
            )
        return found

    def fresh(self, n: int, draws: int, seed: int) -> Counts:
        """Draw n new questions of which each kind is as likely as here: `[draw, kind]`."""
        shares = self.total / self.total.sum()
        return _generator("fresh", seed, n).multinomial(n, shares, size=draws)

    def stratified_error(self, lots: Mapping[str, int], bit: int) -> float:
        """Give the standard error of an accuracy drawn by subject, in theory.

        sqrt(sum of (n_h / n)^2 S_h^2 / n_h (1 - n_h / N_h)) over the subjects that are drawn from
        (Cochran 1977, Sampling Techniques, section 5.4).

        Args:
            lots: Questions to draw, by subject.
            bit: Which evaluation.
        """
        n = sum(lots.values())
        variance = 0.0
        for name, cells in zip(self.subjects, self.cells, strict=True):
            all_, drawn = int(cells.sum()), lots[name]
            if drawn and all_ > 1:
                rate = int(right(cells, bit)) / all_
                scatter = rate * (1 - rate) * all_ / (all_ - 1)
                variance += (drawn / n) ** 2 * scatter / drawn * (1 - drawn / all_)
        return math.sqrt(variance)


def right(counts: Counts, bit: int) -> Counts:
    """Count the questions that evaluation `bit` has right: `[..., kind]` to `[...]`."""
    kinds = [kind for kind in range(counts.shape[-1]) if kind >> bit & 1]
    found: Counts = counts[..., kinds].sum(axis=-1)
    return found


def spread(values: Counts, n: int) -> SampleSpread:
    """Describe how counts out of n fell, as shares.

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


def finite(error: float, n: int, total: int) -> float:
    """Correct a standard error for drawing n of so many questions without replacement."""
    return error * math.sqrt((total - n) / (total - 1))


def intervals(correct: Counts, n: int) -> tuple[Floats, Floats]:
    """Put a Wilson 95 % interval on each count out of n: lower and upper bounds, `[draw]`."""
    values, places = np.unique(correct, return_inverse=True)
    bounds = [wilson(int(value), n) for value in values]
    return (
        np.array([bound.low for bound in bounds])[places],
        np.array([bound.high for bound in bounds])[places],
    )


def mcnemar(only_a: Counts, only_b: Counts) -> Floats:
    """Compute the exact two-sided McNemar p of many pairs of counts, `[draw]`.

    With p = 1/2 the binomial is symmetric, so both tails are twice the smaller one.
    """
    tail = binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5)
    found: Floats = np.minimum(1.0, 2 * tail)
    return found


def deviation_ratio(
    values: Counts, base: Counts, seed: int, n: int
) -> tuple[float, float, float] | None:
    """Compare two standard deviations, with a 95 % interval by bootstrap over the draws.

    Args:
        values: `[draw]`; their deviation is divided
        base: by that of these, `[draw]`.
        seed: Of the bootstrap.
        n: Questions in each draw.

    Returns:
        Ratio, lower and upper bound; None where the base does not vary.
    """
    below = float(base.std(ddof=1))
    if below == 0:
        return None
    generator = _generator("bootstrap", seed, n)
    above, under = _resampled(values, generator), _resampled(base, generator)
    # A resample without any variation cannot be divided by; it needs all but constant draws.
    ratios = above[under > 0] / under[under > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(values.std(ddof=1)) / below, float(low), float(high)


def _resampled(values: Counts, generator: np.random.Generator) -> Floats:
    """Resample draws, and give the standard deviation of each resample: `[resample]`.

    Draws are few different counts, so a multinomial draw of their frequencies is the bootstrap.
    """
    counts, often = np.unique(values, return_counts=True)
    centred = counts - values.mean()
    drawn = generator.multinomial(len(values), often / len(values), size=RESAMPLES) / len(values)
    variance = drawn @ centred**2 - (drawn @ centred) ** 2
    found: Floats = np.sqrt(np.maximum(variance, 0.0))
    return found


def _generator(
    stream: Literal["plain", "stratified", "fresh", "bootstrap"], seed: int, n: int
) -> np.random.Generator:
    # By size: what one size shows does not depend on which others were asked for.
    return np.random.default_rng([seed, n, _STREAMS[stream]])
