"""Records of the robustness study: one model, the same questions asked in several ways."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import (
    Method,
    ModelDescription,
    Normalization,
    Probability,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
    Variant,
)
from medtune.core.schemas.analysis import Flips

VARIANT_TITLES: dict[Variant, str] = {
    "plain": "Unchanged",
    "options-only": "Without the stem",
    "none-of-the-above": "With “None of the above”",
    "stem-injection": "Wrong answer suggested in the stem",
    "option-injection": "Wrong option calls itself right",
}


class SuggestionEffect(Record):
    """Effect of an injection that suggests a wrong option in every question."""

    followed: Proportion
    """How often the suggested option was chosen."""
    before: Proportion
    """How often the same option was chosen on the same questions without the suggestion."""
    won: Proportion | None
    """How often it was chosen only with the suggestion, among the questions where it was not chosen
    before; None if there are none."""
    p_value: Probability
    """Exact McNemar of followed against before, two-sided."""


class NoneOfTheAbove(Record):
    """Results of the questions with the option "None of the above"."""

    right: Proportion | None
    """Accuracy if it is the right option; None if it never is."""
    wrong: Proportion | None
    """Accuracy if it is a wrong option."""
    chosen: Proportion
    """How often it was chosen. It is right about half of the time: always choosing it is about
    50 % right over all."""


class VariantFinding(Record):
    """Result of one variant, compared with the plain questions."""

    variant: Variant
    folder: str
    """Evaluation folder, relative to the study's folder."""
    left_out: int = Field(ge=0)
    """Number of questions for which this variant cannot be built."""
    accuracy: Proportion
    """Accuracy with options in the given order; unparsed answers count as wrong."""
    answer_rate: Proportion
    plain: Proportion
    """Accuracy on the same questions asked plainly, in the given order."""
    only_plain: int = Field(ge=0)
    """Number of questions right only when asked plainly."""
    only_here: int = Field(ge=0)
    """Number of questions right only in this variant."""
    p_value: Probability
    """Exact McNemar of the two accuracies, two-sided; 1 for the plain questions themselves."""
    chance: Probability
    """Expected accuracy of a uniform guess."""
    majority: Proportion
    """Accuracy of always giving the most frequent right letter."""
    majority_letter: str
    push: SuggestionEffect | None = None
    """Effect of the suggestion, for injection variants."""
    none_of_the_above: NoneOfTheAbove | None = None


class RobustnessRecord(Record):
    """Record of the robustness study."""

    kind: Literal["robustness"] = "robustness"
    label: str
    """Short name of the model."""
    model: ModelDescription
    data: SplitDescription
    prompt_hash: str
    method: Method
    normalization: Normalization | None
    seed: int
    """Seed of the variants."""
    averaged: Proportion | None
    """Accuracy of the plain questions with the mean over all cyclic orders; None for free text."""
    flips: Flips | None
    """Order flips of the plain questions; None for free text, which is asked in one order."""
    findings: tuple[VariantFinding, ...] = Field(min_length=1)
    """The plain questions first."""
    weaknesses: tuple[str, ...]
    """Weaknesses shown, one clause each."""
    verdict: str
    """One sentence."""
    warnings: tuple[str, ...]
    """Caveats of the numbers."""
    provenance: Provenance

    def find_variant(self, variant: Variant) -> VariantFinding | None:
        """Return the finding of a variant; None if no question was left for it."""
        return next((f for f in self.findings if f.variant == variant), None)
