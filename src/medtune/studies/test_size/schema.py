"""Records of the test-size study: spread of an accuracy by number of questions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pydantic import Field

from medtune.core.errors import InputError
from medtune.core.records import (
    ComparisonRecord,
    Method,
    Probability,
    Proportion,
    Provenance,
    Record,
)

SIZES = (20, 50, 100, 200, 500, 1000)
DRAWS = 2_000
LEAST_DRAWS, MOST_DRAWS = 100, 1_000_000


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Plan of the subsamples.

    Args:
        sizes: Questions in a subsample, ascending; the full split is always added.
        draws: Subsamples at each size.
        seed: Seed of the draws.

    Raises:
        InputError: The sizes do not ascend from 1 on, the draws are too few or too many, or the
            seed is negative.
    """

    sizes: tuple[int, ...] = SIZES
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sizes or self.sizes[0] < 1 or any(a >= b for a, b in pairwise(self.sizes)):
            raise InputError(
                f"sizes {', '.join(map(str, self.sizes)) or 'none'}",
                expected="whole numbers from 1 on, each larger than the one before",
                fix="for instance --sizes 20,50,100",
            )
        if not LEAST_DRAWS <= self.draws <= MOST_DRAWS:
            raise InputError(
                f"{self.draws:,} draws",
                expected=f"{LEAST_DRAWS} to {MOST_DRAWS:,}: fewer show no 2.5 % quantile",
            )
        if self.seed < 0:
            raise InputError(f"seed {self.seed}", expected="0 or more")

    def sizes_within(self, n: int) -> tuple[int, ...]:
        """Return the sizes below n, and n itself."""
        return (*(size for size in self.sizes if size < n), n)


class SampleSpread(Record):
    """Distribution of a value (an accuracy, a difference) over all subsamples of one size."""

    mean: float
    deviation: float = Field(ge=0)
    """Standard deviation over the subsamples."""
    low: float
    """2.5 % quantile."""
    high: float
    """97.5 % quantile."""
    least: float
    most: float


class StratifiedSpread(Record):
    """Results of subsamples of the same size, stratified by subject in proportion."""

    spread: SampleSpread
    standard_error: float = Field(ge=0)
    """By theory: sqrt(sum of (n_h / n)^2 S_h^2 / n_h (1 - n_h / N_h)), S_h^2 with N_h - 1
    (Cochran 1977, Sampling Techniques, section 5.4)."""
    ratio: float | None
    """Its deviation divided by that of the plain subsamples; None if that is 0."""
    ratio_low: float | None
    """Bootstrap over the draws, 95 %."""
    ratio_high: float | None
    subjects_missed: int = Field(ge=0)
    """Subjects too small for a single question at this size."""


class AccuracyAtSize(Record):
    """Results of one evaluation in subsamples of one size."""

    n: int = Field(gt=0)
    spread: SampleSpread
    standard_error: float = Field(ge=0)
    """By theory, of n fresh questions: sqrt(p (1 - p) / n)."""
    standard_error_finite: float = Field(ge=0)
    """By theory, of n out of these N questions: times sqrt((N - n) / (N - 1))."""
    half_width: float = Field(ge=0)
    """Half the width of the Wilson 95 % interval, mean over the subsamples."""
    coverage: Probability
    """Share of subsamples whose interval contains the full split's accuracy. It tends to 1 as n
    approaches N: the subsample is then nearly the split itself."""
    excludes_chance: Probability
    """Share of subsamples whose interval excludes the accuracy of a uniform guess."""
    excludes_majority: Probability
    """Share of subsamples whose interval excludes always giving the most frequent letter."""
    stratified: StratifiedSpread | None = None


class AccuracyBySize(Record):
    """Results of one evaluation at all sizes."""

    label: str
    accuracy: Proportion
    """On all questions."""
    chance: Probability
    majority: Proportion
    majority_letter: str
    sizes: tuple[AccuracyAtSize, ...]


class DifferenceAtSize(Record):
    """Comparison of two evaluations in subsamples of one size."""

    n: int = Field(gt=0)
    spread: SampleSpread
    """Spread of accuracy b - accuracy a."""
    standard_error: float = Field(ge=0)
    """By theory, of n fresh questions: sqrt((discordance - difference^2) / n)."""
    standard_error_finite: float = Field(ge=0)
    """By theory, of n out of these N questions."""
    power: Probability
    """Share of subsamples with exact McNemar p < 0.05. It tends to 0 or 1 as n approaches N: the
    subsample is then nearly the split itself."""
    power_fresh: Probability
    """The same share for n fresh questions with the same discordance."""
    wrong_sign: Probability | None
    """Share of subsamples that find a difference (p < 0.05) of the other sign; None if there is no
    difference in the full split."""
    minimum_detectable: float = Field(ge=0, le=1)
    """Smallest difference found with 80 % power at this n and the full split's discordance."""


class DifferenceBySize(Record):
    """Comparison of two evaluations of the same questions at all sizes."""

    comparison: ComparisonRecord
    """On all questions."""
    discordance: Probability
    """Share of questions that only one of them answers correctly."""
    sizes: tuple[DifferenceAtSize, ...]
    needed: int | None
    """Questions needed to find the observed difference with 80 % power; None where there is
    none. The observed difference is itself uncertain, and this number with it."""
    needed_if_smaller: int | None
    """The same for the end of the difference's 95 % interval that is nearer to 0; None where the
    interval holds 0."""


class SampleSizeRecord(Record):
    """Record of the test-size study."""

    kind: Literal["test-size"] = "test-size"
    split: str
    method: Method
    n: int = Field(gt=0)
    """Questions in the full split."""
    draws: int = Field(gt=0)
    """Subsamples at each size, without replacement."""
    seed: int
    left_out: tuple[int, ...]
    """Requested sizes that are larger than the split."""
    subjects: int | None
    """Number of strata; None without stratification."""
    evaluations: tuple[AccuracyBySize, ...]
    """One, or the reference and the candidate."""
    difference: DifferenceBySize | None
    verdict: str
    """Verdict of the study."""
    subjects_verdict: str | None
    """Verdict on stratified subsamples; None if there are none."""
    provenance: Provenance
