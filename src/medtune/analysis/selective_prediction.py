"""Selective prediction: risk-coverage curve, thresholds with bounded risk, prediction sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medtune.analysis.calibration import Floats, ScoredOptions
from medtune.core.errors import PredictionsError
from medtune.core.intervals import min_answers_for_risk, wilson_interval
from medtune.core.records import Proportion
from medtune.core.schemas.analysis import SearchPower, Threshold

ConformalScore = Literal["lac", "aps"]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Risk-coverage curve of answering only the most confident questions."""

    coverage: Floats
    """`[point]`: share of questions answered, ascending."""
    risk: Floats
    """`[point]`: share of the answered questions that are wrong."""
    area: float
    """Mean risk over all coverages (AURC, Geifman and El-Yaniv 2017); lower is better."""


def risk_coverage(scored: ScoredOptions) -> RiskCoverage:
    """Compute the risk-coverage curve; questions of equal confidence are one step."""
    _, ends, errors = _candidate_thresholds(scored)
    steps = np.diff(np.concatenate([[0], ends]))
    area = float((errors / ends * steps).sum() / len(scored))
    return RiskCoverage(ends / len(scored), errors / ends, area)


def _candidate_thresholds(
    scored: ScoredOptions,
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidate thresholds, from high to low confidence.

    Returns:
        For each threshold the least answered confidence, the number of answered questions, and
        the number of errors among them.  Equal confidences are not separated.
    """
    order = np.argsort(-scored.confidence, kind="stable")
    confidence, errors = scored.confidence[order], np.cumsum(~scored.correct[order])
    ends = np.flatnonzero(np.append(confidence[:-1] != confidence[1:], True)).astype(np.int64) + 1
    return confidence[ends - 1], ends, errors[ends - 1].astype(np.int64)


def clopper_pearson_upper(errors: int, n: int, level: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a proportion (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if errors >= n else float(beta.ppf(level, errors + 1, n - errors))


def find_threshold_for_risk(
    scored: ScoredOptions, target: float, level: float = 0.95
) -> Threshold | None:
    """Find the lowest confidence at which the risk is bounded by a target.

    Thresholds are tried from high to low confidence, beginning with the smallest number of
    questions that suffices without errors; the search ends at the first threshold whose bound
    exceeds the target.  This is fixed-sequence testing, under which the bound holds for the
    returned threshold although several were tested (Learn then Test, Angelopoulos et al. 2021,
    arXiv 2110.01052).  It holds for questions from the distribution of the calibration split.

    Args:
        scored: The calibration split.
        target: Highest share of wrong answers among the answered, such as 0.1.
        level: Probability over calibration splits that the risk is below the target.

    Returns:
        The threshold; None if even the most confident questions are too risky.
    """
    fewest = min_answers_for_risk(target, level)
    best: Threshold | None = None
    for confidence, end, errors in zip(*_candidate_thresholds(scored), strict=True):
        if end < fewest:
            continue
        bound = clopper_pearson_upper(int(errors), int(end), level)
        if bound > target:
            break
        best = Threshold(
            confidence=float(confidence),
            target=target,
            bound=bound,
            coverage=wilson_interval(int(end), len(scored)),
        )
    return best


def compute_search_power(
    scored: ScoredOptions, target: float, level: float = 0.95, power: float = 0.8
) -> SearchPower:
    """Compute the accuracy that a model needs for the threshold search to succeed.

    The search ends at its first failure, so it succeeds if and only if its first step, the most
    confident questions, contains few enough errors.

    Args:
        scored: The calibration split; only its confidences matter.
        target: Highest share of wrong answers among the answered.
        level: Confidence level of the bound.
        power: Probability that a threshold is found.
    """
    from scipy.stats import beta

    least = min_answers_for_risk(target, level)
    _, ends, _ = _candidate_thresholds(scored)
    later = ends[ends >= least]
    if not len(later):
        return SearchPower(least=least)
    first = int(later[0])
    allowed = sum(clopper_pearson_upper(k, first, level) <= target for k in range(first + 1)) - 1
    # P(at most k errors of n at rate e) = P(beta(k + 1, n - k) > e).
    errors = 1.0 if allowed == first else float(beta.ppf(1 - power, allowed + 1, first - allowed))
    return SearchPower(least=least, first=first, allowed=allowed, accuracy=1 - errors)


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Conformal prediction sets, which contain the right option with a stated probability."""

    score: ConformalScore
    level: float
    """Promised coverage, such as 0.9."""
    quantile: float
    """Largest nonconformity that an option in the set may have."""

    def predict_sets(self, scored: ScoredOptions) -> NDArray[np.bool_]:
        """Return whether each option is in its question's set, `[question, option]`."""
        inside = nonconformity_scores(scored, self.score) <= self.quantile
        return inside & (np.arange(inside.shape[1]) < scored.options[:, None])

    def measure_coverage(self, scored: ScoredOptions) -> tuple[Proportion, float]:
        """Measure coverage and mean set size on questions outside of the calibration split."""
        sets = self.predict_sets(scored)
        covered = sets[np.arange(len(scored)), scored.answers]
        return wilson_interval(int(covered.sum()), len(scored)), float(sets.sum(axis=1).mean())


def nonconformity_scores(scored: ScoredOptions, score: ConformalScore) -> Floats:
    """Return the nonconformity score of each option, `[question, option]`.

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


def fit_conformal_sets(
    scored: ScoredOptions, level: float = 0.9, score: ConformalScore = "lac"
) -> ConformalSets:
    """Fit prediction sets by split conformal prediction (Vovk et al. 2005).

    The right option is in the set with probability at least `level`, over calibration split and
    new question, if both are exchangeable.

    Raises:
        PredictionsError: The calibration split is too small for the level: n < level / (1 - level).
    """
    n = len(scored)
    rank = int(np.ceil((n + 1) * level - 1e-9))
    if rank > n:
        raise PredictionsError(
            f"{n} calibration questions are too few to promise {100 * level:.0f} % coverage",
            expected=f"at least {int(np.ceil(level / (1 - level) - 1e-9))}",
            fix="use a larger data.calibration_size, or a lower level",
        )
    own = nonconformity_scores(scored, score)[np.arange(n), scored.answers]
    return ConformalSets(score, level, float(np.sort(own)[rank - 1]))


def coverage_by_group(
    sets: ConformalSets, scored: ScoredOptions, groups: Sequence[str]
) -> dict[str, tuple[Proportion, float]]:
    """Measure coverage and mean set size by group; the guarantee is marginal only."""
    names = np.array(groups)
    return {
        str(name): sets.measure_coverage(scored.take(names == name))
        for name in dict.fromkeys(groups)
    }
