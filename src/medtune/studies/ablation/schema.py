"""Records of the ablation study: the notebook's bugs, fixed one at a time."""

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
    """One step of the ladder from the notebook to a sound run."""

    name: str
    mends: str
    """What it fixes, compared with the previous rung."""
    training: str
    """Name of its training."""
    foreign: bool = False
    """Whether it is evaluated with another model's chat template."""
    substring: bool = False
    """Whether an answer that contains the right option's text counts as right."""


RUNGS = (
    Rung(
        name="notebook",
        mends="the notebook: another model's template, no end-of-turn token, loss on the prompt, "
        "a substring counts as right",
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
    Rung(name="template", mends="asked with its own chat template", training="notebook"),
    Rung(name="ending", mends="the end-of-turn token is trained on", training="ending"),
    Rung(name="answer", mends="the loss is on the answer only", training="answer"),
    Rung(name="letter", mends="trained on letters, not on texts", training="letter"),
    Rung(name="permutation", mends="options in a new order in every epoch", training="permutation"),
    Rung(name="data", mends="more data", training="data"),
)


def list_ablation_trainings(experiment: Experiment) -> dict[str, Experiment]:
    """Return the experiments of the ladder by name.

    All other settings (model, rank, learning rate, epochs, batch) are those of the experiment, and
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
    """Result of one rung."""

    rung: Rung
    accuracy: Proportion
    """Accuracy by the matcher of this rung."""
    gain: ComparisonRecord | None
    """Comparison with the previous rung on the same questions; None for the first."""
    evaluation: EvaluationRecord
    """Free answers, parsed strictly."""
    likelihood: EvaluationRecord | None
    """The same model by the likelihood of its letters; None with another model's template."""


class AblationRecord(Record):
    """Record of the ablation study."""

    kind: Literal["ablation"] = "ablation"
    name: str
    model: ModelDescription
    data: SplitDescription
    """The train split of the last rung; the others take the first's size from it."""
    few: int = Field(gt=0)
    """Number of training questions of all rungs except the last."""
    base: EvaluationRecord
    """The untrained model, asked for letters with its own template."""
    base_likelihood: EvaluationRecord
    rungs: tuple[RungRecord, ...]
    trainings: dict[str, TrainingRecord]
    verdict: str
    cell_s: float
    provenance: Provenance
