"""Answering only when sure: risk against coverage, thresholds with a bound, prediction sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from medtune.analysis.calibration import Floats, ScoredOptions
from medtune.core.errors import PredictionsError
from medtune.core.intervals import least_for_risk, wilson
from medtune.core.records import Proportion
from medtune.core.schemas.analysis import SearchPower, Threshold

Score = Literal["lac", "aps"]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What answering only the surest questions would cost."""

    coverage: Floats
    """`[point]`: share of questions answered, ascending."""
    risk: Floats
    """`[point]`: share of these that are wrong."""
    area: float
    """Mean risk over all coverages (AURC, Geifman and El-Yaniv 2017); lower is better."""


def risk_coverage(scored: ScoredOptions) -> RiskCoverage:
    """Order questions by confidence and watch the risk grow; equal confidences go together."""
    _, ends, errors = _surest_first(scored)
    steps = np.diff(np.concatenate([[0], ends]))
    area = float((errors / ends * steps).sum() / len(scored))
    return RiskCoverage(ends / len(scored), errors / ends, area)


def _surest_first(scored: ScoredOptions) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """List the thresholds that can be drawn, from the surest questions down.

    Returns:
        Per threshold the least confidence that is answered, how many questions that answers and
        how many of these are wrong.  A threshold cannot part equal confidences.
    """
    order = np.argsort(-scored.confidence, kind="stable")
    confidence, errors = scored.confidence[order], np.cumsum(~scored.right[order])
    ends = np.flatnonzero(np.append(confidence[:-1] != confidence[1:], True)).astype(np.int64) + 1
    return confidence[ends - 1], ends, errors[ends - 1].astype(np.int64)


def clopper_pearson_upper(errors: int, n: int, level: float = 0.95) -> float:
    """Bound a proportion from above, exactly (Clopper and Pearson 1934), one-sided."""
    return 1.0 if errors >= n else float(beta.ppf(level, errors + 1, n - errors))


def threshold_for_risk(
    scored: ScoredOptions, target: float, level: float = 0.95
) -> Threshold | None:
    """Find the lowest confidence at which the risk is bounded by a target.

    Thresholds are tried from the surest questions down, beginning with so many that an error-free
    answer to all would do, and the first one whose bound exceeds the target ends the search:
    fixed-sequence testing, under which the bound holds for the threshold that is returned
    although many were looked at (Learn then Test, Angelopoulos et al. 2021, arXiv 2110.01052).
    Only for questions that are drawn like the calibration split.

    Args:
        scored: The calibration split.
        target: Highest share of wrong answers among the answered, such as 0.1.
        level: With this probability over calibration splits, the risk is below the target.

    Returns:
        The threshold; None where even the surest questions are too risky.
    """
    fewest = least_for_risk(target, level)
    best: Threshold | None = None
    for confidence, end, errors in zip(*_surest_first(scored), strict=True):
        if end < fewest:
            continue
        bound = clopper_pearson_upper(int(errors), int(end), level)
        if bound > target:
            break
        best = Threshold(
            confidence=float(confidence),
            target=target,
            bound=bound,
            coverage=wilson(int(end), len(scored)),
        )
    return best


def search_power(
    scored: ScoredOptions, target: float, level: float = 0.95, power: float = 0.8
) -> SearchPower:
    """Say how good a model must be for `threshold_for_risk` to find a threshold.

    The search ends at the first step that fails, so it finds one if and only if the surest
    questions, as many as could bound the risk without an error, hold few enough errors.

    Args:
        scored: The calibration split; only its confidences matter.
        target: Highest share of wrong answers among the answered.
        level: Of the bound.
        power: How often a threshold shall be found.
    """
    least = least_for_risk(target, level)
    _, ends, _ = _surest_first(scored)
    later = ends[ends >= least]
    if not len(later):
        return SearchPower(least=least)
    first = int(later[0])
    allowed = sum(clopper_pearson_upper(k, first, level) <= target for k in range(first + 1)) - 1
    # P(at most k errors of n at rate e) is P(a beta(k + 1, n - k) is above e).
    errors = 1.0 if allowed == first else float(beta.ppf(1 - power, allowed + 1, first - allowed))
    return SearchPower(least=least, first=first, allowed=allowed, accuracy=1 - errors)


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Prediction sets that hold the right option with a stated probability."""

    score: Score
    level: float
    """Promised coverage, such as 0.9."""
    quantile: float
    """Largest nonconformity that an option in the set may have."""

    def sets(self, scored: ScoredOptions) -> NDArray[np.bool_]:
        """Tell which options are in the sets, `[question, option]`."""
        inside = nonconformity(scored, self.score) <= self.quantile
        return inside & (np.arange(inside.shape[1]) < scored.options[:, None])

    def realised(self, scored: ScoredOptions) -> tuple[Proportion, float]:
        """Measure coverage and mean set size on questions that were not calibrated on."""
        sets = self.sets(scored)
        covered = sets[np.arange(len(scored)), scored.answers]
        return wilson(int(covered.sum()), len(scored)), float(sets.sum(axis=1).mean())


def nonconformity(scored: ScoredOptions, score: Score) -> Floats:
    """Say how odd each option would be as the answer, `[question, option]`.

    lac: one minus its probability (Sadinle et al. 2019).  aps: the probability of all options at
    least as likely, itself included (Romano et al. 2020, without randomisation), which makes
    sets larger on hard questions.  Both as Kumar et al. 2023 (arXiv 2305.18404) use them for
    multiple choice.
    """
    if score == "lac":
        return 1 - scored.probabilities
    order = np.argsort(-scored.probabilities, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(scored.probabilities, order, axis=1), axis=1)
    found = np.empty_like(sums)
    np.put_along_axis(found, order, sums, axis=1)
    return found


def conformal(scored: ScoredOptions, level: float = 0.9, score: Score = "lac") -> ConformalSets:
    """Calibrate prediction sets (split conformal, Vovk et al. 2005).

    The right option is in the set with probability at least `level`, over calibration split and
    new question together, where both are drawn alike.

    Raises:
        PredictionsError: The calibration split is too small for the level: n < level / (1 - level).
    """
    n = len(scored)
    rank = int(np.ceil((n + 1) * level - 1e-9))
    if rank > n:
        raise PredictionsError(
            f"{n} calibration questions are too few to promise {100 * level:.0f} % coverage",
            expected=f"at least {int(np.ceil(level / (1 - level) - 1e-9))}",
            fix="cut off a larger data.calibration_size, or promise less",
        )
    own = nonconformity(scored, score)[np.arange(n), scored.answers]
    return ConformalSets(score, level, float(np.sort(own)[rank - 1]))


def by_group(
    sets: ConformalSets, scored: ScoredOptions, groups: Sequence[str]
) -> dict[str, tuple[Proportion, float]]:
    """Measure coverage and mean set size group by group: the promise is marginal only."""
    names = np.array(groups)
    return {str(name): sets.realised(scored.take(names == name)) for name in dict.fromkeys(groups)}
