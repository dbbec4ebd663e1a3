"""What a study of prompts finds: the wording that is answered best, chosen on other questions."""

from __future__ import annotations

from itertools import product
from typing import Literal

from pydantic import Field

from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    Method,
    ModelDescription,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
)

SYSTEMS = (
    "",
    "You are a helpful AI assistant.",
    "You are a physician who takes a medical licensing exam.",
)
"""Beside the experiment's own."""
OPTION_LINES = ("{letter}) {text}", "({letter}) {text}")
INSTRUCTIONS = ("", "Which option is right? Answer with its letter.")
SHOTS = (0, 3)


class PromptVariant(Record):
    """One way to ask."""

    system: str
    option: str
    """Form of an option's line."""
    instruction: str
    """Behind the options, where letters are asked for."""
    shots: int = Field(ge=0)
    """Worked examples, the first ones of the train split."""

    @classmethod
    def of(cls, style: PromptStyle, shots: int = 0) -> PromptVariant:
        """Read it off a style."""
        return cls(
            system=style.system,
            option=style.option,
            instruction=style.letter.instruction,
            shots=shots,
        )

    def style(self, base: PromptStyle) -> PromptStyle:
        """Put it into a style; what it does not name stays."""
        letter = base.letter.model_copy(update={"instruction": self.instruction})
        return base.model_copy(
            update={"system": self.system, "option": self.option, "letter": letter}
        )


def variants(own: PromptStyle, shots: tuple[int, ...] = SHOTS) -> list[PromptVariant]:
    """List every combination, the experiment's own prompt without examples first."""
    plain = PromptVariant.of(own)
    systems = dict.fromkeys((plain.system, *SYSTEMS))
    options = dict.fromkeys((plain.option, *OPTION_LINES))
    instructions = dict.fromkeys((plain.instruction, *INSTRUCTIONS))
    combined = product(systems, options, instructions, sorted({0, *shots}))
    found = [
        PromptVariant(system=system, option=option, instruction=instruction, shots=count)
        for system, option, instruction, count in combined
    ]
    return list(dict.fromkeys([plain, *found]))


class PromptPoint(Record):
    """One variant on the calibration split."""

    variant: PromptVariant
    accuracy: Proportion
    gain: float
    """Over the experiment's own prompt, on the same questions."""
    gain_low: float
    gain_high: float


class PromptStudyRecord(Record):
    """A study of prompts."""

    kind: Literal["prompts"] = "prompts"
    name: str
    model: ModelDescription
    method: Method
    calibration: SplitDescription
    points: tuple[PromptPoint, ...]
    """The experiment's own prompt first."""
    chosen: PromptVariant
    """The most accurate on the calibration split; the first of equals."""
    own_reported: EvaluationRecord
    chosen_reported: EvaluationRecord
    comparison: ComparisonRecord
    """On the reported split, which had no say in the choice."""
    verdict: str
    cell_s: float
    provenance: Provenance
