"""The seed notebook's mistakes, mended one at a time, and what each was worth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.experiment import Experiment, TrainingConfig
from medtune.core.prompt import PromptStyle, TextForm
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    ModelDescription,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
    TrainingRecord,
)

SYSTEM = "You are a helpful AI assistant."
NOTEBOOK_SIZE = 500


class Rung(Record):
    """One step up from the notebook."""

    name: str
    mends: str
    """What it does better than the one before."""
    training: str
    """Which training it rests on."""
    foreign: bool = False
    """Whether it is asked through another model's template."""
    substring: bool = False
    """Whether an answer counts that merely contains the right option's text."""


RUNGS = (
    Rung(
        name="notebook",
        mends="the notebook: another template, no ending, loss on the prompt, a substring counts",
        training="notebook",
        foreign=True,
        substring=True,
    ),
    Rung(
        name="strict",
        mends="the same answers, read strictly",
        training="notebook",
        foreign=True,
    ),
    Rung(name="template", mends="asked through its own template", training="notebook"),
    Rung(name="ending", mends="the ending is learned", training="ending"),
    Rung(name="answer", mends="the loss looks at the answer only", training="answer"),
    Rung(name="letter", mends="letters are taught, not texts", training="letter"),
    Rung(name="permutation", mends="options in a new order in every epoch", training="permutation"),
    Rung(name="data", mends="more data", training="data"),
)


def trainings(experiment: Experiment) -> dict[str, Experiment]:
    """List the trainings of the ladder.

    Everything that is not on it (model, rank, rate, epochs, batch) is the experiment's own, and
    the same on every rung.
    """
    style = PromptStyle(
        system=SYSTEM, text=TextForm(list_options=True), letter=experiment.prompt.letter
    )
    steps: dict[str, dict[str, object]] = {
        "notebook": {
            "target": "text",
            "objective": "all",
            "ending": False,
            "permute_options": False,
        },
        "ending": {"ending": True},
        "answer": {"objective": "answer"},
        "letter": {"target": "letter"},
        "permutation": {"permute_options": True},
        "data": {},
    }
    found, settings = {}, experiment.training.model_dump(exclude_unset=True)
    for name, step in steps.items():
        settings |= step
        training = TrainingConfig.model_validate(settings)
        found[name] = experiment.model_copy(update={"prompt": style, "training": training})
    return found


class RungRecord(Record):
    """What one rung gave."""

    rung: Rung
    accuracy: Proportion
    """As this rung counts answers."""
    gain: ComparisonRecord | None
    """Against the rung before, on the same questions; None for the first."""
    evaluation: EvaluationRecord
    """Free answers, read strictly."""
    likelihood: EvaluationRecord | None
    """The same model by the likelihood of its letters; None behind another template."""


class AblationRecord(Record):
    """The ladder from the notebook's mistakes to a sound run."""

    kind: Literal["ablation"] = "ablation"
    name: str
    model: ModelDescription
    data: SplitDescription
    """The train split of the last rung; the others take the first's size from it."""
    few: int = Field(gt=0)
    """Questions that all rungs but the last are trained on."""
    base: EvaluationRecord
    """The untrained model, asked as rungs from \"template\" on are, in letters."""
    base_likelihood: EvaluationRecord
    rungs: tuple[RungRecord, ...]
    trainings: dict[str, TrainingRecord]
    verdict: str
    cell_s: float
    provenance: Provenance
