"""Records of the prompt study."""

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
"""System messages to try, in addition to the experiment's own."""
OPTION_LINES = ("{letter}) {text}", "({letter}) {text}")
INSTRUCTIONS = ("", "Which option is right? Answer with its letter.")
SHOTS = (0, 3)


class PromptVariant(Record):
    """One prompt variant."""

    system: str
    option: str
    """Template of an option line."""
    instruction: str
    """Instruction after the options, if letters are asked for."""
    shots: int = Field(ge=0)
    """Number of worked examples, the first of the train split."""

    @classmethod
    def from_style(cls, style: PromptStyle, shots: int = 0) -> PromptVariant:
        """Return the variant of a prompt style."""
        return cls(
            system=style.system,
            option=style.option,
            instruction=style.letter.instruction,
            shots=shots,
        )

    def apply_to_style(self, base: PromptStyle) -> PromptStyle:
        """Return a prompt style with this variant applied."""
        letter = base.letter.model_copy(update={"instruction": self.instruction})
        return base.model_copy(
            update={"system": self.system, "option": self.option, "letter": letter}
        )


def list_variants(own: PromptStyle, shots: tuple[int, ...] = SHOTS) -> list[PromptVariant]:
    """List every combination, the experiment's own prompt without examples first."""
    plain = PromptVariant.from_style(own)
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
    """Gain over the experiment's own prompt on the same questions."""
    gain_low: float
    gain_high: float


class PromptStudyRecord(Record):
    """Record of the prompt study."""

    kind: Literal["prompts"] = "prompts"
    name: str
    model: ModelDescription
    method: Method
    calibration: SplitDescription
    points: tuple[PromptPoint, ...]
    """The experiment's own prompt first."""
    chosen: PromptVariant
    """Most accurate variant on the calibration split; the first among equals."""
    own_reported: EvaluationRecord
    chosen_reported: EvaluationRecord
    comparison: ComparisonRecord
    """Comparison on the reported split, which did not influence the choice."""
    verdict: str
    cell_s: float
    provenance: Provenance
