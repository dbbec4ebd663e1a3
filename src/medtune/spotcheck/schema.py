"""Records of the human spot-check: blind items, hidden data, marks and scores."""

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
"""Reviewer whose marks decide disagreements of the others."""
CONSENSUS = "consensus"
"""Reserved name of the consensus: the common mark of all reviewers, or the adjudicator's."""

Choice = Annotated[StrictInt, Field(ge=0, lt=MAX_OPTIONS)] | Literal["none", "unsure"]
"""Index of the option that an output gives; "none": no option; "unsure": it is unclear."""


def format_choice(choice: Choice) -> str:
    """Format a choice for display: a letter, "none" or "unsure"."""
    return LETTERS[choice] if isinstance(choice, int) else choice


class SpotCheckItem(Record):
    """An output to review, blind: without right answer, parser reading and model name."""

    id: str = Field(min_length=1)
    """Id made of the sample and the position in its shuffled order; it reveals nothing else."""
    stem: str
    options: tuple[str, ...] = Field(min_length=MIN_OPTIONS, max_length=MAX_OPTIONS)
    """Options in the order of the model's prompt, because an output may name a letter."""
    text: str
    """Output of the model, unchanged."""


class DrawnItem(Record):
    """Data of an item that the reviewers must not see."""

    id: str
    evaluation: int = Field(ge=0)
    """Index into the sample's evaluations."""
    prediction: str
    """Id of its question in the evaluation."""
    stratum: int = Field(ge=0)
    """Index into the sample's strata."""
    probability: Annotated[float, Field(gt=0, le=1)]
    """Probability of being drawn; its inverse is the item's weight."""
    answer: int
    """Index of the right option."""
    chosen: int | None
    """Index of the option that the parser read; None if it read none."""
    reason: str
    """Rule of the parser, or why it read no option."""
    scored: int | None = None
    """Choice of the scored evaluation of the same question, if one was given."""


class SpotCheckMark(Record):
    """One line of `marks-NAME.jsonl`, as version 0.1 wrote them."""

    item: str = Field(min_length=1, max_length=64)
    reviewer: str
    choice: Choice
    note: str = ""
    at: str
    """UTC, ISO 8601."""


class Stratum(Record):
    """Stratum of outputs that the parser read in the same way."""

    name: str
    """"read: letter, then more", "unread: two answers", ..."""
    read: bool
    """Whether the parser read an option."""
    doubtful: bool
    """Whether it is sampled more often than in proportion to its size."""
    size: int = Field(gt=0)
    """Number of outputs in the evaluations."""
    drawn: int = Field(gt=0)
    """Number of items in the sample; never 0, so that the sample represents all outputs."""

    @model_validator(mode="after")
    def _check_drawn(self) -> Self:
        if self.drawn > self.size:
            raise ValueError(f"{self.drawn} drawn of {self.size}")
        return self


class SampledEvaluation(Record):
    """An evaluation from which items were drawn."""

    folder: str
    label: str
    source: str
    """Source of its questions."""
    inputs: str
    n: int = Field(gt=0)
    correct: int = Field(ge=0)
    """Number of correct outputs among all n, by the parser."""


class SpotCheckSample(Record):
    """A sample of outputs for review."""

    kind: Literal["review-sample"] = "review-sample"
    inputs: str
    """Hash of everything that determines the sample."""
    seed: int
    parser: int | None
    """Version of the parser that read the outputs."""
    evaluations: tuple[SampledEvaluation, ...]
    against: str | None = None
    """Folder of a scored evaluation of the same questions; disagreement with it makes an output
    doubtful."""
    population: int = Field(gt=0)
    """Number of outputs in all evaluations."""
    n: int = Field(gt=0)
    """Number of items drawn."""
    strata: tuple[Stratum, ...]
    items_hash: str
    """sha256 of items.jsonl."""
    ledger_hash: str
    """sha256 of ledger.jsonl."""
    provenance: Provenance


class MatcherScore(Record):
    """Scores of one matcher, with a reviewer's marks as ground truth.

    Intervals are 95 %. Items marked unsure are left out of precision and recall, and count as not
    correct elsewhere.
    """

    matcher: str
    precision: Proportion | None = None
    """Weighted to all outputs: share of the options read that the reviewer confirms. None if no
    option was read, or for a matcher that reads no options."""
    recall: Proportion | None = None
    """Weighted: share of the options seen by the reviewer that were read."""
    precision_counted: Proportion | None = None
    """Unweighted among the marked items, Wilson; doubtful items are overrepresented."""
    recall_counted: Proportion | None = None
    credited_wrongly: Proportion | None
    """Weighted: share not correct by the reviewer, among those correct by the matcher."""
    denied_wrongly: Proportion | None
    """Weighted: share not correct by the matcher, among those correct by the reviewer."""


class CorrectedAccuracy(Record):
    """Accuracy of one evaluation, by the parser and by a reviewer."""

    label: str
    source: str
    parsed: Proportion
    """Accuracy by the parser over all outputs, Wilson."""
    reviewed: Proportion
    """The same, corrected by the reviewer's marks in the sample; `n` counts the marked items."""


class ReviewerScore(Record):
    """Scores by one reviewer's marks."""

    reviewer: str
    """A name, or "consensus"."""
    marked: int = Field(gt=0)
    none: int = Field(ge=0)
    """Marked "names no option"."""
    unsure: int = Field(ge=0)
    """Marked "cannot tell"."""
    confusion: dict[str, dict[str, int]]
    """Counts of marked items: read or unread by the parser, by mark: same option, another option
    (an option, if unread), none, unsure."""
    matchers: tuple[MatcherScore, ...]
    """Scores by matcher; the parser version of the evaluations comes first."""
    accuracy: tuple[CorrectedAccuracy, ...]


class Disagreement(Record):
    """An item on which the reviewers disagree."""

    item: str
    choices: dict[str, Choice]
    """By reviewer."""
    settled: bool
    """Whether the adjudicator has marked it."""


class Misreading(Record):
    """An item on which the parser and a reviewer differ."""

    item: str
    reviewer: str
    reason: str
    """Rule of the parser, or why it read no option."""
    chosen: int | None
    """Option read by the parser."""
    choice: Choice
    """Choice of the reviewer."""


class SpotCheckRecord(Record):
    """Result of a spot-check."""

    kind: Literal["review"] = "review"
    folder: str
    sample: SpotCheckSample
    scores: tuple[ReviewerScore, ...]
    agreements: tuple[Agreement, ...]
    disagreements: tuple[Disagreement, ...]
    misreadings: tuple[Misreading, ...]
    warnings: tuple[str, ...]
    """Caveats on the figures."""
    provenance: Provenance
