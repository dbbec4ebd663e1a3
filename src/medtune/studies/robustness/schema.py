"""What `medtune study robustness` finds: one model, the same questions, asked in several ways."""

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


class SuggestionEffect(Record):
    """What an injection did: a wrong option was pushed on every question."""

    followed: Proportion
    """The pushed option was chosen."""
    before: Proportion
    """The same option was chosen on the same questions without the push."""
    won: Proportion | None
    """Chosen with the push, among the questions where it was not chosen before; None where it was
    chosen on all of them."""
    p_value: Probability
    """Exact McNemar of followed against before, two-sided."""


class NoneOfTheAbove(Record):
    """What became of the questions in which "None of the above" stands."""

    right: Proportion | None
    """Accuracy where it is the right option; None where it never is."""
    wrong: Proportion | None
    """Accuracy where it is a wrong one."""
    chosen: Proportion
    """How often it was chosen. It is right about half of the time: always choosing it is about
    50 % right over all."""


class VariantFinding(Record):
    """One way of asking the questions, beside asking them plainly."""

    variant: Variant
    folder: str
    """The evaluation, inside the study's folder."""
    left_out: int = Field(ge=0)
    """Questions of which this variant cannot be made."""
    accuracy: Proportion
    """Options in the given order; unparsed counted as not correct."""
    answer_rate: Proportion
    plain: Proportion
    """Accuracy on the same questions asked plainly, in the given order."""
    only_plain: int = Field(ge=0)
    """Right only when asked plainly."""
    only_here: int = Field(ge=0)
    """Right only in this variant."""
    p_value: Probability
    """Exact McNemar of the two accuracies, two-sided; 1 for the plain questions themselves."""
    chance: Probability
    """Expected accuracy of a uniform guess."""
    majority: Proportion
    """Accuracy of always giving the most frequent right letter."""
    majority_letter: str
    push: SuggestionEffect | None = None
    """Of the injections."""
    none_of_the_above: NoneOfTheAbove | None = None


class RobustnessRecord(Record):
    """What one model's answers depend on beside the question."""

    kind: Literal["robustness"] = "robustness"
    label: str
    """Short name of the model."""
    model: ModelDescription
    data: SplitDescription
    prompt_hash: str
    method: Method
    normalization: Normalization | None
    seed: int
    """Of the choices that the variants make."""
    averaged: Proportion | None
    """Accuracy of the plain questions with the mean over all cyclic orders; None for free text."""
    flips: Flips | None
    """Of the plain questions; None for free text, which is asked in one order."""
    findings: tuple[VariantFinding, ...] = Field(min_length=1)
    """The plain questions first."""
    weaknesses: tuple[str, ...]
    """What was shown, one clause each; empty where nothing was."""
    verdict: str
    """One sentence."""
    warnings: tuple[str, ...]
    """What a reader must know before believing a number."""
    provenance: Provenance

    def of(self, variant: Variant) -> VariantFinding | None:
        """Find a variant; None where no question was left for it."""
        return next((f for f in self.findings if f.variant == variant), None)
