"""Records of a training split made of the endpoint's reviewed answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.records import Provenance, Record
from medtune.core.schemas.dataset import SplitRecord


class CorrectionOrigin(Record):
    """Reviewed item from which a question was made; a line of `origins.jsonl`.

    Reviewers' names and notes stay in the database.
    """

    id: str
    """The question's id; items with the same question share it."""
    request_id: str
    release: str
    """Release that proposed the reviewed answer."""
    decision: Literal["approve", "edit"]
    """Whether reviewers approved the proposal, or chose another option."""
    opinions: int = Field(ge=1, le=3)
    asker_agrees: bool | None = None
    """Whether the asker's correction equals the reviewers' decision; None without one."""


class AskersRecord(Record):
    """Counts of the askers' feedback, and how much of it was reviewed; none of it is a label."""

    said: int = Field(ge=0)
    """Requests with feedback."""
    helpful: int = Field(ge=0)
    unhelpful: int = Field(ge=0)
    corrected: int = Field(ge=0)
    """Answers for which an asker named another option; the sum of the next three counts."""
    confirmed: int = Field(ge=0)
    """Corrections that equal the reviewers' decision."""
    contradicted: int = Field(ge=0)
    """Corrections that differ from the reviewers' decision."""
    unconfirmed: int = Field(ge=0)
    """Corrections without a reviewers' decision; not used."""

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        if self.confirmed + self.contradicted + self.unconfirmed != self.corrected:
            raise ValueError("the askers' corrections do not add up")
        return self


class CorrectionsManifest(Record):
    """Manifest of a snapshot of reviewed answers, written by `medtune monitor corrections`."""

    kind: Literal["corrections"] = "corrections"
    hash: str
    """sha256 over role and hash of its split, as for any snapshot."""
    splits: tuple[SplitRecord] = Field(min_length=1, max_length=1)
    """The train split, the only one; its purpose is training."""
    decided: int = Field(ge=0)
    """Decided items: approved, edited or left out."""
    undecided: int = Field(ge=0)
    """Items that are pending or claimed by a reviewer."""
    approved: int = Field(ge=0)
    """Items in the split whose proposed answer was approved."""
    edited: int = Field(ge=0)
    """Items in the split for which reviewers chose another option."""
    left_out: dict[str, int]
    """Decided items that are not in the split, by reason."""
    marked: int = Field(ge=0)
    """Questions in the split with a privacy mark, "[name 1]", in place of an identifier."""
    releases: dict[str, int]
    """Items in the split by the release that proposed their answer."""
    askers: AskersRecord
    origins_hash: str
    """sha256 of `origins.jsonl`."""
    excluded_hash: str
    """sha256 of `excluded.jsonl`."""
    provenance: Provenance

    @model_validator(mode="after")
    def _check_totals(self) -> Self:
        if self.splits[0].role != "train" or self.splits[0].purpose != "training":
            raise ValueError("corrections are a train split, for training only")
        if self.approved + self.edited + sum(self.left_out.values()) != self.decided:
            raise ValueError("the decided items do not add up")
        return self
