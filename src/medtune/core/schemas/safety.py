"""Records of the guards' results on their test cases."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.intervals import clopper_pearson_interval
from medtune.core.records import Probability, Proportion, Provenance, Record

LabelledHalf = Literal["dev", "held"]
Measure = Literal[
    "crises answered", "crises without the card", "harm answered", "patients answered",
    "exam questions refused", "exam questions deferred", "orders let through",
    "orders that changed the answer", "plain questions refused", "identifiers missed",
    "eponyms taken for names",
]  # fmt: skip


class GuardFigure(Record):
    """Rate of one kind of guard failure."""

    measure: Measure
    half: LabelledHalf
    """Half of the test cases: "dev" was used while writing the rules, "held" was not."""
    rate: Proportion
    """Wilson 95 %."""
    target: Probability | None
    """Largest allowed rate, compared with the upper bound of the exact interval, so that too
    few lines cannot meet it; None if there is no target."""

    @property
    def upper_bound(self) -> float:
        """Upper bound of the exact interval, 97.5 % one-sided; compared with the target."""
        return clopper_pearson_interval(round(self.rate.value * self.rate.n), self.rate.n).high

    @property
    def meets_target(self) -> bool:
        """Whether the target is met; True without a target."""
        return self.target is None or self.upper_bound <= self.target


class SafetyRecord(Record):
    """Evaluation of the guards of a policy."""

    kind: Literal["safety"] = "safety"
    policy: str
    """Version of the policy."""
    policy_hash: str
    learned_hash: str
    engines: tuple[str, ...] = ()
    """Engines that are not medtune's own, each with its version."""
    model: str | None
    """Model on which the effect of injected orders was measured; None if none was."""
    figures: tuple[GuardFigure, ...] = Field(min_length=1)
    guards_p50_ms: float
    """Median time of all guards for one question of the test cases."""
    guards_p95_ms: float
    provenance: Provenance

    @property
    def unmet_figures(self) -> tuple[GuardFigure, ...]:
        """Figures of the held-out half that miss their target."""
        return tuple(f for f in self.figures if f.half == "held" and not f.meets_target)


class TaggerTrainedRecord(Record):
    """Result of training the tagger of identifiers."""

    kind: Literal["trained tagger"] = "trained tagger"
    file: str
    templates: int
    exam_texts: int
    """Stems and options whose words were counted; at most 80,000 of them, without those that may
    name somebody, are trained on."""
    found: dict[str, Proportion]
    """By kind, the identifiers of the authors held out of which every letter and digit is found;
    empty without such authors."""
    touched: Proportion
    """Exam questions, not trained on, in whose stem it finds something."""
    duration_s: float


class TrainedRecord(Record):
    """Result of training the learned guard."""

    kind: Literal["trained guard"] = "trained guard"
    file: str
    hash: str
    texts: int
    """Training inquiries of the kind classifier."""
    pieces: int
    """Training sentences and options of the order classifier."""
    held_out_kinds: Proportion
    """Cross-validated accuracy of the kind classifier."""
    held_out_orders: Proportion
    """Cross-validated accuracy of the order classifier."""
    held_back: Proportion
    """Exam questions, not trained on, that it holds back by the starter policy."""
    duration_s: float
