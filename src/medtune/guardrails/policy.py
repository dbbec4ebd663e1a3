"""The policy file: the guards, their order and their strictness."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.config import read_toml_as
from medtune.core.records import MAX_OPTIONS, Probability, Record, content_hash
from medtune.core.schemas.guardrails import Action, GuardName

Topic = Literal["dosing", "oncology", "pregnancy", "paediatrics", "emergency"]
Keep = Literal["none", "queued", "redacted"]
ModerationModel = Literal[
    "llama-guard", "granite-guardian", "shieldgemma", "gpt-oss-safeguard", "openai-moderation"
]
REQUIRED_GUARDS: tuple[GuardName, ...] = ("size", "privacy", "crisis", "scope")
"""Guards that every policy must have."""
ANSWER_GUARDS: tuple[GuardName, ...] = ("confidence", "output")
"""Guards that run on an answer."""
MEDMCQA_SUBJECTS = (
    "Anaesthesia", "Anatomy", "Biochemistry", "Dental", "ENT", "Forensic Medicine",
    "Gynaecology & Obstetrics", "Medicine", "Microbiology", "Ophthalmology", "Orthopaedics",
    "Pathology", "Pediatrics", "Pharmacology", "Physiology", "Psychiatry", "Radiology", "Skin",
    "Social & Preventive Medicine", "Surgery",
)  # fmt: skip
"""Subjects of MedMCQA."""

STARTER_POLICY = Path(str(files("medtune.guardrails"))) / "policy.toml"
"""Path of the default policy."""


class Sizes(Record):
    """Limits on the size of an inquiry."""

    stem: int = Field(default=4000, ge=1, le=20_000)
    """Characters."""
    option: int = Field(default=500, ge=1, le=4000)
    """Characters of one option."""
    options: int = Field(default=MAX_OPTIONS, ge=2, le=MAX_OPTIONS)
    """Most options of a question."""


class Privacy(Record):
    """How long requests, and which of their texts, are stored."""

    keep: Keep = "queued"
    """Which texts are stored: none; redacted ones of items under review ("queued"); redacted ones
    of every request."""
    days: int = Field(default=30, ge=1)
    """Days after which a request and all that belongs to it are deleted."""
    engine: Literal["presidio"] | None = None
    """presidio: Presidio's recognizers find identifiers, too. None: medtune's alone."""
    spacy_model: str | None = None
    """Installed spaCy model whose entities Presidio takes for names, such as en_core_web_lg."""
    score: Probability | None = None
    """Least score of Presidio that counts; 0.5 by default."""

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine is None and (self.spacy_model is not None or self.score is not None):
            raise ValueError('spacy_model and score are Presidio\'s: say engine = "presidio"')
        return self


class Strictness(Record):
    """The action of a guard that finds something."""

    action: Action
    """What the guard does when it finds something."""


class Sensitive(Strictness):
    """Topics whose answers a reviewer decides on."""

    action: Action = "defer"
    topics: tuple[Topic, ...] = ("dosing", "oncology", "pregnancy", "paediatrics", "emergency")
    """Topics that it looks for."""


class ClassifierPolicy(Strictness):
    """Thresholds of the learned guard."""

    action: Action = "defer"
    harmful: Probability = 0.3
    """Least probability of harm or crisis at which it acts."""
    patient: Probability = 0.6
    """Least probability of a patient's question at which it acts."""
    crisis: Probability = 0.5
    """Least probability of a crisis at which the crisis card is shown."""
    order: Probability = 0.9
    """Least probability of an injected instruction, by sentence or option, at which it acts."""


class Moderation(Strictness):
    """A moderation model on a server that speaks OpenAI's API."""

    action: Action = "defer"
    model: ModerationModel
    """Whose published prompt and labels are used."""
    server: str
    """Where it is served: remote:URL#NAME."""
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Longest that one request may take, seconds."""
    unavailable: Literal["defer", "refuse"] = "defer"
    """Action where it does not answer in time, or answers with none of its labels."""
    ignore: tuple[str, ...] = ()
    """Labels that do not count, such as S6 (specialized advice) of Llama Guard."""


class Confidence(Strictness):
    """Limits on the confidence of an answer."""

    action: Action = "defer"
    risk: Probability = 0.2
    """Largest error rate among answered questions, as bounded on the calibration split."""
    level: Probability = 0.9
    """Coverage of the prediction sets."""
    unseen: Action = "defer"
    """Action for subjects that are not in the calibration split."""
    uncalibrated: Action = "defer"
    """Action for a model without calibration."""


class EvidenceRule(Record):
    """When a passage decides an answer that is not confident enough.

    The match is the harmonic mean of the share of the stem's words in a passage's question and
    right answer, and the share of its question's words in stem and chosen option. It is 0 unless
    the passage's right answer is the option, and its question is negated just as the stem is.
    """

    match: Probability = 0.6
    """Least match at which a passage decides, if none for another option has it as well."""


class Policy(Record):
    """A policy file."""

    version: str = Field(min_length=1)
    """Name of the policy, stored with every reply."""
    order: tuple[GuardName, ...]
    """Guards in the order in which they run."""
    subjects: tuple[str, ...] = MEDMCQA_SUBJECTS
    """Subjects stored and given to the model, besides those of the calibration. Any other subject
    is free text: the guards read it, and it is dropped."""
    size: Sizes = Field(default_factory=Sizes)
    privacy: Privacy = Field(default_factory=Privacy)
    crisis: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    scope: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    injection: Strictness = Field(default_factory=lambda: Strictness(action="refuse"))
    sensitive: Sensitive = Field(default_factory=Sensitive)
    classifier: ClassifierPolicy = Field(default_factory=ClassifierPolicy)
    moderation: Moderation | None = None
    """None if no moderation model is asked."""
    confidence: Confidence = Field(default_factory=Confidence)
    evidence: EvidenceRule | None = None
    """None if a passage never decides."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("a guard occurs twice in the order")
        if missing := [name for name in REQUIRED_GUARDS if name not in self.order]:
            raise ValueError(f"no policy goes without {', '.join(missing)}")
        if self.order[0] != "size":
            raise ValueError("size comes first: the others read what it has bounded")
        places = [name in ANSWER_GUARDS for name in self.order]
        if places != sorted(places):
            raise ValueError(f"{' and '.join(ANSWER_GUARDS)} look at answers: they come last")
        if ("moderation" in self.order) != (self.moderation is not None):
            raise ValueError("moderation has a section and a place in the order, or neither")
        inputs = [name for name in self.order if name not in ANSWER_GUARDS]
        if self.moderation is not None and inputs[-1] != "moderation":
            raise ValueError("moderation comes last of the guards that look at questions")
        if self.crisis.action != "refuse" or self.scope.action != "refuse":
            raise ValueError("crisis and scope refuse: nothing milder keeps the model out")
        return self

    @property
    def hash(self) -> str:
        """Hash of the content; 64 hex digits."""
        # Without the rules that a policy does not have, so that older policies keep their hash.
        return content_hash(self.model_dump(mode="json", exclude_none=True))


def load_policy(path: Path | None = None) -> Policy:
    """Load a policy file; None loads the default policy.

    Raises:
        ConfigError: The file is invalid; every fault is listed by its key.
    """
    return read_toml_as(path or STARTER_POLICY, Policy)
