"""Estimate proportions of all outputs from a stratified sample."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from medtune.core.records import Proportion

NUM_POSTERIOR_DRAWS = 10_000
_BOUNDS = (0.025, 0.975)


class StratifiedShares:
    """Estimated shares of all outputs in several cells, with intervals.

    The estimate is stratified: each stratum's proportions, weighted by its known size (Cochran
    1977, section 5.3). The 95 % interval is Bayesian: in each stratum the cells have a Dirichlet
    posterior, and the draws of the strata are combined by their sizes. The prior is Jeffreys's for
    the expected cell against all others (1/2 and 1/2, which Brown, Cai and DasGupta 2001 recommend
    for proportions); the others share their half. Unlike with a bootstrap, a stratum without
    observed errors is not treated as free of errors. There is no finite-population correction: the
    interval is for outputs like these, and slightly wide for these very outputs.

    Args:
        sizes: Number of outputs in each stratum, [stratum].
        cells: Cell of each marked item, by stratum.
        possible: Cells that can occur in each stratum, the expected one first.
        count: Number of cells.
        draws: Number of draws from the posterior.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        cells: Sequence[Sequence[int]],
        possible: Sequence[Sequence[int]],
        count: int,
        draws: int = NUM_POSTERIOR_DRAWS,
    ) -> None:
        generator = np.random.default_rng(0)
        # Strata without marks are excluded from the estimate.
        covered = [index for index, marked in enumerate(cells) if marked]
        total = sum(sizes[index] for index in covered)
        self._point = np.zeros(count)
        self._draws = np.zeros((draws, count))
        self._counts = np.zeros(count, dtype=np.int64)
        for index in covered:
            weight = sizes[index] / total
            tally = np.bincount(cells[index], minlength=count)
            here = list(possible[index])
            assert tally.sum() == tally[here].sum(), "an item lies in an impossible cell"
            self._counts += tally
            self._point += weight * tally / tally.sum()
            prior = np.array([0.5, *[0.5 / (len(here) - 1)] * (len(here) - 1)])
            self._draws[:, here] += weight * generator.dirichlet(tally[here] + prior, size=draws)

    def estimate_ratio(self, part: Collection[int], whole: Collection[int]) -> Proportion | None:
        """Estimate the share of the cells `part` in the cells `whole`, which include them.

        Returns:
            The proportion, where `n` is the number of marked items in `whole`; None if it is 0.
        """
        n = int(self._counts[list(whole)].sum())
        if not n:
            return None
        value = self._point[list(part)].sum() / self._point[list(whole)].sum()
        draws = self._draws[:, list(part)].sum(axis=1) / self._draws[:, list(whole)].sum(axis=1)
        return _proportion(float(value), draws, n)

    def estimate_corrected(
        self, known: float, up: int, down: int, whole: Collection[int]
    ) -> Proportion | None:
        """Correct a known share by the sampled shares of missing (`up`) and false (`down`) cases.

        This is the difference estimator (Cochran 1977, section 7.1 with slope 1): it uses the known
        share of all outputs and estimates only the correction.
        """
        n = int(self._counts[list(whole)].sum())
        if not n:
            return None
        among = self._point[list(whole)].sum()
        value = known + (self._point[up] - self._point[down]) / among
        draws = known + (self._draws[:, up] - self._draws[:, down]) / (
            self._draws[:, list(whole)].sum(axis=1)
        )
        return _proportion(float(value), draws, n)


def _proportion(value: float, draws: npt.NDArray[np.float64], n: int) -> Proportion:
    low, high = (float(bound) for bound in np.quantile(draws, _BOUNDS))
    value = min(1.0, max(0.0, value))
    # At 0 and 1 the prior keeps the draws away from the estimate; extend the interval to it.
    return Proportion(
        value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)), n=n
    )
