"""Records of the guards: inquiries, verdicts and calibrated scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medtune.core.records import Probability, Proportion, Record

Action = Literal["allow", "annotate", "defer", "refuse"]
"""From mild to strict: answer; answer with a remark; defer to a person; refuse."""
ACTIONS: tuple[Action, ...] = ("allow", "annotate", "defer", "refuse")
GuardName = Literal[
    "size", "privacy", "crisis", "scope", "injection", "sensitive", "classifier", "moderation",
    "confidence", "output",
]  # fmt: skip
CardName = Literal["crisis", "scope"]
TEMPERATURE_BOUNDS = (0.05, 20.0)
"""Bounds of the search for a temperature."""
ReasonCode = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$")]
"""A reason code: guard and kind, such as "crisis.self_harm"."""


class Inquiry(Record):
    """An incoming question that has not been checked yet."""

    stem: str
    options: tuple[str, ...] = ()
    """Empty if the text is not a multiple-choice question."""
    subject: str | None = None
    earlier: tuple[Inquiry, ...] = ()
    """Earlier user messages of the same chat; read by the guards, not by the model."""
    around: tuple[str, ...] = ()
    """Other messages of the chat, such as a system message; read by the guards only."""

    @property
    def full_text(self) -> str:
        """Stem and options, one per line."""
        return "\n".join((self.stem, *self.options))


class GuardVerdict(Record):
    """Verdict of one guard on one inquiry."""

    guard: GuardName
    action: Action
    reason: ReasonCode | None = None
    """None if the guard found nothing."""
    probability: Probability | None = None
    """Confidence of a learned guard."""
    card: CardName | None = None
    """Fixed text that is returned instead of an answer."""
    engine: str | None = None
    """Name and version of the engine that the policy names, as "presidio 2.2.366"; None for the
    guards of medtune, whose version the policy's is."""


def strictest_action(verdicts: tuple[GuardVerdict, ...]) -> Action:
    """Return the strictest action among verdicts; "allow" without any."""
    return max((v.action for v in verdicts), key=ACTIONS.index, default="allow")


def is_temperature_at_bound(temperature: float) -> bool:
    """Return whether a fitted temperature lies at a bound of the search.

    Then the log loss has no minimum inside the bounds: confidence says nothing about correctness,
    and the temperature is not an estimate.
    """
    low, high = TEMPERATURE_BOUNDS
    return temperature <= 1.01 * low or temperature >= high / 1.01


class ServingCalibration(Record):
    """Temperature, threshold and quantile for serving, fitted on the calibration split."""

    temperature: float = Field(gt=0)
    """Divides log-probabilities (Guo et al. 2017)."""
    threshold: Probability | None
    """Smallest confidence at which the risk is bounded; None if there is none."""
    risk: Probability
    """Target: largest share of errors among the answered questions."""
    bound: Probability | None
    """Upper bound of the risk at the threshold, 95 %."""
    coverage: Probability
    """Share of the calibration questions that the threshold answers."""
    quantile: float
    """Largest nonconformity (one minus the probability) of an option in a prediction set."""
    level: Probability
    """Probability that a prediction set contains the right option."""
    subjects: tuple[str, ...]
    """Subjects of the calibration questions; other subjects are not calibrated."""
    n: int = Field(gt=0)
    source: str
    """Source of the calibration questions."""
    hash: str
    """Hash of the predictions it was fitted on."""
    accuracy: Proportion | None = None
    """Share of these questions that the model has right; Wilson 95 %.  None in old releases."""


class EvidencePassage(Record):
    """A passage that is shown with an answer."""

    id: str
    """Unique within its index."""
    text: str
    """Question, right answer and explanation, or a piece of a text; long ones are cut."""
    source: str
    licence: str | None
    score: float
    """Of the search with stem and option; comparable within one reply only."""


class AnswerEvidence(Record):
    """Passages found for the chosen option, and how nearly one of them is the question."""

    passages: tuple[EvidencePassage, ...]
    """The best first; empty if nothing was found."""
    match: Probability
    """Largest match of a passage whose right answer is the chosen option; see `EvidenceRule`."""
    rival: Probability
    """The same of all other options."""


class OptionScores(Record):
    """Calibrated probabilities of the options of one question."""

    probabilities: tuple[Probability, ...]
    chosen: int
    """Index of the most likely option; ties are broken by `core.choice`."""
    mass: Probability | None = None
    """Letter method: total probability of all letters."""
    evidence: AnswerEvidence | None = None
    """None if the endpoint has no index of passages."""

    @property
    def confidence(self) -> float:
        """Probability of the most likely option."""
        return max(self.probabilities)
