"""Records of the human spot-check: what reviewers see, what they must not see, what they said."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from medtune.core.records import (
    LETTERS,
    MAX_OPTIONS,
    MIN_OPTIONS,
    Proportion,
    Provenance,
    Record,
)
from medtune.core.schemas.analysis import Agreement

NONE = "none"
UNSURE = "unsure"
ADJUDICATOR = "adjudicator"
"""Reviewer whose marks settle what the others disagree on."""
CONSENSUS = "consensus"
"""Stands for what all reviewers, or the adjudicator, say; nobody may take this name."""

Choice = Annotated[StrictInt, Field(ge=0, lt=MAX_OPTIONS)] | Literal["none", "unsure"]
"""Index of the option that an output gives; "none": it gives none; "unsure": it cannot be told."""


def choice_name(choice: Choice) -> str:
    """Write a choice for people: a letter, "none" or "unsure"."""
    return LETTERS[choice] if isinstance(choice, int) else choice


class ParserReviewItem(Record):
    """One output to adjudicate, blind: neither key, nor reading, nor the model's name."""

    id: str = Field(min_length=1)
    """Tells nothing but the sample and the place in its shuffled order."""
    stem: str
    options: tuple[str, ...] = Field(min_length=MIN_OPTIONS, max_length=MAX_OPTIONS)
    """In the order in which the model saw them: an output may name a letter."""
    text: str
    """What the model wrote, as it is."""


class DrawnItem(Record):
    """What the reviewers must not see about an item."""

    id: str
    evaluation: int = Field(ge=0)
    """Index into the sample's evaluations."""
    prediction: str
    """The question's id there."""
    stratum: int = Field(ge=0)
    """Index into the sample's strata."""
    probability: Annotated[float, Field(gt=0, le=1)]
    """Of being drawn; one over it is the item's weight."""
    answer: int
    """Index of the right option."""
    chosen: int | None
    """Index of the option that the parser read; None where it read none."""
    reason: str
    """The parser's rule, or why it read nothing."""
    scored: int | None = None
    """The option that the scored evaluation of the same question chose, where one was given."""


class ReviewMark(Record):
    """One line of `marks-NAME.jsonl`, as version 0.1 wrote them."""

    item: str = Field(min_length=1, max_length=64)
    reviewer: str
    choice: Choice
    note: str = ""
    at: str
    """UTC, ISO 8601."""


class Stratum(Record):
    """Outputs that were read in the same way."""

    name: str
    """"read: letter, then more", "unread: two answers", ..."""
    read: bool
    """The parser gave an option."""
    doubtful: bool
    """Drawn more often than its size alone would have it."""
    size: int = Field(gt=0)
    """Outputs in the evaluations."""
    drawn: int = Field(gt=0)
    """Of these, items in the sample; never 0, so that all outputs are spoken for."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.drawn > self.size:
            raise ValueError(f"{self.drawn} drawn of {self.size}")
        return self


class SampledEvaluation(Record):
    """One evaluation that items were drawn from."""

    folder: str
    label: str
    source: str
    """Its questions."""
    inputs: str
    n: int = Field(gt=0)
    correct: int = Field(ge=0)
    """By the parser, among all n."""


class ReviewSample(Record):
    """A sample of outputs for review."""

    kind: Literal["review-sample"] = "review-sample"
    inputs: str
    """Hash of everything that determines the sample."""
    seed: int
    parser: int | None
    """Version of the parser that read the outputs."""
    evaluations: tuple[SampledEvaluation, ...]
    against: str | None = None
    """Folder of a scored evaluation of the same questions, whose disagreement is doubt too."""
    population: int = Field(gt=0)
    """Outputs in all evaluations together."""
    n: int = Field(gt=0)
    """Items drawn."""
    strata: tuple[Stratum, ...]
    items_hash: str
    """sha256 of items.jsonl."""
    ledger_hash: str
    """sha256 of ledger.jsonl."""
    provenance: Provenance


class MatcherScore(Record):
    """How well one matcher reads, taking a reviewer's word for what stands there.

    Intervals are 95 %. Items that the reviewer could not tell are left out of precision and
    recall, and count as not correct elsewhere.
    """

    matcher: str
    precision: Proportion | None = None
    """Weighted to all outputs: the option read is the one the reviewer sees, among the outputs of
    which an option was read. None where nothing was read, or for a matcher that names none."""
    recall: Proportion | None = None
    """Weighted: the option was read, among the outputs in which the reviewer sees one."""
    precision_counted: Proportion | None = None
    """The same among the marked items as they are, Wilson; doubtful ones weigh too much in it."""
    recall_counted: Proportion | None = None
    credited_wrongly: Proportion | None
    """Weighted: not correct by the reviewer, among those the matcher calls correct."""
    denied_wrongly: Proportion | None
    """Weighted: not called correct by the matcher, among those correct by the reviewer."""


class ReviewedAccuracy(Record):
    """One evaluation's accuracy, by the parser and by a reviewer."""

    label: str
    source: str
    parsed: Proportion
    """Correct by the parser among all outputs, Wilson."""
    reviewed: Proportion
    """The same, moved by what the reviewer found in the sample; `n` counts the marked items."""


class ReviewerScore(Record):
    """What follows from one reviewer's marks."""

    reviewer: str
    """A name, or "consensus"."""
    marked: int = Field(gt=0)
    none: int = Field(ge=0)
    """Marked "names no option"."""
    unsure: int = Field(ge=0)
    """Marked "cannot tell"."""
    confusion: dict[str, dict[str, int]]
    """Marked items: read or unread by the parser, against same option, another option (any option,
    where unread), none, unsure."""
    matchers: tuple[MatcherScore, ...]
    """The parser as the evaluations used it comes first."""
    accuracy: tuple[ReviewedAccuracy, ...]


class Disagreement(Record):
    """An item on which the reviewers do not agree."""

    item: str
    choices: dict[str, Choice]
    """By reviewer."""
    settled: bool
    """The adjudicator has marked it."""


class Misreading(Record):
    """An item that the parser reads otherwise than a person does."""

    item: str
    reviewer: str
    reason: str
    """The parser's."""
    chosen: int | None
    """By the parser."""
    choice: Choice
    """By the reviewer."""


class ReviewRecord(Record):
    """What a spot-check found."""

    kind: Literal["review"] = "review"
    folder: str
    sample: ReviewSample
    scores: tuple[ReviewerScore, ...]
    agreements: tuple[Agreement, ...]
    disagreements: tuple[Disagreement, ...]
    misreadings: tuple[Misreading, ...]
    warnings: tuple[str, ...]
    """What a reader must know before believing a number."""
    provenance: Provenance
