"""Proportions of all outputs out of a stratified sample of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from medtune.core.records import Proportion

DRAWS = 10_000
_BOUNDS = (0.025, 0.975)


class StratifiedShares:
    """What share of all outputs falls into each of some cells, and how sure that is.

    The estimate is the stratified one: each stratum's proportions, weighted by its known size
    (Cochran 1977, section 5.3). The 95 % interval is a posterior's: in each stratum the cells have
    a Dirichlet posterior, and strata are put together by their sizes, draw by draw. The prior is
    Jeffreys's for the cell that is expected against all others (1/2 and 1/2, which Brown, Cai and
    DasGupta 2001 recommend for proportions); the others share their half. So a stratum without a
    single error is not taken as free of errors, which a bootstrap would do. No correction for a
    finite population is made: the interval speaks of outputs like these, and is a little wide for
    these very ones.

    Args:
        sizes: Outputs in each stratum, [stratum].
        cells: The cell of each marked item, by stratum.
        possible: The cells that can occur in each stratum, the expected one first.
        count: Number of cells.
        draws: From the posterior.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        cells: Sequence[Sequence[int]],
        possible: Sequence[Sequence[int]],
        count: int,
        draws: int = DRAWS,
    ) -> None:
        generator = np.random.default_rng(0)
        # A stratum without marks cannot be spoken for: the rest stands for itself.
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

    def ratio(self, part: Collection[int], whole: Collection[int]) -> Proportion | None:
        """Estimate the share of `part` in `whole`, a set of cells that holds it.

        Returns:
            The proportion, `n` counting the marked items in `whole`; None where there are none.
        """
        n = int(self._counts[list(whole)].sum())
        if not n:
            return None
        value = self._point[list(part)].sum() / self._point[list(whole)].sum()
        draws = self._draws[:, list(part)].sum(axis=1) / self._draws[:, list(whole)].sum(axis=1)
        return _proportion(float(value), draws, n)

    def moved(self, known: float, up: int, down: int, whole: Collection[int]) -> Proportion | None:
        """Correct a known share by what the sample says is missing (`up`) or too much (`down`).

        The difference estimator (Cochran 1977, section 7.1 with slope 1): what is known of all
        outputs is not estimated again.
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
    # At 0 and 1 the prior keeps the draws away from the estimate; the interval holds it anyway.
    return Proportion(
        value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)), n=n
    )
