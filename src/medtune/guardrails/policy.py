"""The policy: which guards stand in which order, and how strict each is."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.config import read_as
from medtune.core.records import MAX_OPTIONS, Probability, Record, content_hash
from medtune.core.schemas.guardrails import Action, GuardName

Topic = Literal["dosing", "oncology", "pregnancy", "paediatrics", "emergency"]
Keep = Literal["none", "queued", "redacted"]
NEEDED: tuple[GuardName, ...] = ("size", "privacy", "crisis", "scope")
"""Guards that no policy can leave out."""
AFTER: tuple[GuardName, ...] = ("confidence", "output")
"""Guards that look at an answer."""
SUBJECTS = (
    "Anaesthesia", "Anatomy", "Biochemistry", "Dental", "ENT", "Forensic Medicine",
    "Gynaecology & Obstetrics", "Medicine", "Microbiology", "Ophthalmology", "Orthopaedics",
    "Pathology", "Pediatrics", "Pharmacology", "Physiology", "Psychiatry", "Radiology", "Skin",
    "Social & Preventive Medicine", "Surgery",
)  # fmt: skip
"""Names of subjects in MedMCQA."""

STARTER = Path(str(files("medtune.guardrails"))) / "policy.toml"
"""The policy that comes with medtune."""


class Sizes(Record):
    """Largest inquiry."""

    stem: int = Field(default=4000, ge=1, le=20_000)
    """Characters."""
    option: int = Field(default=500, ge=1, le=4000)
    """Characters of one option."""
    options: int = Field(default=MAX_OPTIONS, ge=2, le=MAX_OPTIONS)


class Privacy(Record):
    """What is kept of an inquiry."""

    keep: Keep = "queued"
    """Text at rest: none; redacted while a person decides; redacted with every request."""
    days: int = Field(default=30, ge=1)
    """Days after which a request and all that belongs to it are deleted."""


class Strictness(Record):
    """What a guard does where it finds something."""

    action: Action


class Sensitive(Strictness):
    """Topics that a person looks at first."""

    action: Action = "defer"
    topics: tuple[Topic, ...] = ("dosing", "oncology", "pregnancy", "paediatrics", "emergency")


class ClassifierPolicy(Strictness):
    """The learned classifier."""

    action: Action = "defer"
    harmful: Probability = 0.3
    """Least probability of harm or crisis."""
    patient: Probability = 0.6
    """Least probability of a patient."""
    crisis: Probability = 0.5
    """Least probability of a crisis at which its card is given."""
    order: Probability = 0.9
    """Least probability that a sentence or an option is an order."""


class Confidence(Strictness):
    """How sure a model has to be."""

    action: Action = "defer"
    risk: Probability = 0.2
    """Most errors among the answered, as bounded on the calibration split."""
    level: Probability = 0.9
    """Coverage of the prediction sets."""
    unseen: Action = "defer"
    """What becomes of subjects that calibration never saw."""
    uncalibrated: Action = "defer"
    """What becomes of answers of a model that was never calibrated."""


class Policy(Record):
    """One policy file."""

    version: str = Field(min_length=1)
    order: tuple[GuardName, ...]
    subjects: tuple[str, ...] = SUBJECTS
    """Subjects that are kept and given to the model, beside those that calibration saw.  Any other
    is free text: the guards read it, and it is dropped."""
    size: Sizes = Field(default_factory=Sizes)
    privacy: Privacy = Field(default_factory=Privacy)
    crisis: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    scope: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    injection: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    sensitive: Sensitive = Field(default_factory=Sensitive)
    classifier: ClassifierPolicy = Field(default_factory=ClassifierPolicy)
    confidence: Confidence = Field(default_factory=Confidence)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("a guard stands twice in the order")
        if missing := [name for name in NEEDED if name not in self.order]:
            raise ValueError(f"no policy goes without {', '.join(missing)}")
        if self.order[0] != "size":
            raise ValueError("size comes first: the others read what it has bounded")
        places = [name in AFTER for name in self.order]
        if places != sorted(places):
            raise ValueError(f"{' and '.join(AFTER)} look at answers: they come last")
        if self.crisis.action != "refuse" or self.scope.action != "refuse":
            raise ValueError("crisis and scope refuse: nothing milder keeps the model out")
        return self

    @cached_property
    def hash(self) -> str:
        """Hash of everything it says; 64 hex digits."""
        return content_hash(self.model_dump(mode="json"))


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file; None is the starter policy.

    Raises:
        ConfigError: With every fault, each by its key.
    """
    return read_as(path or STARTER, Policy)
