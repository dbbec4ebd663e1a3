"""What guards look at, what they say, and what the endpoint makes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medtune.core.records import Probability, Proportion, Record

Action = Literal["allow", "annotate", "defer", "refuse"]
"""From the mildest: nothing; a remark in the answer; a person decides; no answer at all."""
ACTIONS: tuple[Action, ...] = ("allow", "annotate", "defer", "refuse")
GuardName = Literal[
    "size", "privacy", "crisis", "scope", "injection", "sensitive", "classifier", "confidence",
    "output",
]  # fmt: skip
CardName = Literal["crisis", "scope"]
TEMPERATURES = (0.05, 20.0)
"""Between these a temperature is looked for."""
Code = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$")]
"""A reason: guard and kind, "crisis.self_harm"."""


class Inquiry(Record):
    """One question as it came in: nobody has vouched for it."""

    stem: str
    options: tuple[str, ...] = ()
    """Empty where the text is no multiple-choice question."""
    subject: str | None = None
    earlier: tuple[Inquiry, ...] = ()
    """What the asker said before, in the same chat: for the guards, no model is asked it."""
    around: tuple[str, ...] = ()
    """What others said in it, such as a system message; likewise."""

    @property
    def whole(self) -> str:
        """Stem and options, a line each."""
        return "\n".join((self.stem, *self.options))


class GuardVerdict(Record):
    """What one guard says of one inquiry."""

    guard: GuardName
    action: Action
    reason: Code | None = None
    """None is that there was nothing to remark."""
    probability: Probability | None = None
    """Of a learned guard: how sure it is."""
    card: CardName | None = None
    """The text that is given instead of an answer."""


def strictest(verdicts: tuple[GuardVerdict, ...]) -> Action:
    """Find the strictest action among verdicts; none is to allow."""
    return max((v.action for v in verdicts), key=ACTIONS.index, default="allow")


def at_bound(temperature: float) -> bool:
    """Tell whether a fitted temperature lies on the edge of where it was looked for.

    Then the log loss has no minimum inside: the model is right or wrong whatever it says of
    itself, and the temperature is not an estimate.
    """
    low, high = TEMPERATURES
    return temperature <= 1.01 * low or temperature >= high / 1.01


class ServingCalibration(Record):
    """How sure a model may be taken to be; fitted on questions that are never reported on."""

    temperature: float = Field(gt=0)
    """Divides log-probabilities (Guo et al. 2017)."""
    threshold: Probability | None
    """Least confidence at which the risk is bounded; None where no confidence is enough."""
    risk: Probability
    """The bound: most errors among the answered."""
    bound: Probability | None
    """Upper bound of the risk at the threshold, 95 %."""
    coverage: Probability
    """Share of the calibration questions that the threshold answers."""
    quantile: float
    """Largest nonconformity (one minus the probability) of an option in a prediction set."""
    level: Probability
    """How often a prediction set holds the right option."""
    subjects: tuple[str, ...]
    """Subjects that occur in the questions; others were never calibrated."""
    n: int = Field(gt=0)
    source: str
    """Where the questions come from."""
    hash: str
    """Of the predictions it was fitted on."""
    accuracy: Proportion | None = None
    """Share of these questions that the model has right; Wilson 95 %.  None in old releases."""


class OptionScores(Record):
    """What a model makes of one question, after calibration."""

    probabilities: tuple[Probability, ...]
    chosen: int
    """Index of the likeliest option; of equal ones, see `core.choice`."""
    mass: Probability | None = None
    """By letter: probability of all letters together."""

    @property
    def confidence(self) -> float:
        """Probability of the likeliest option."""
        return max(self.probabilities)
