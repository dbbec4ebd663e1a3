"""What reviewers of the endpoint settled, as questions to train on: the records of that."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.records import Provenance, Record
from medtune.core.schemas.dataset import SplitRecord


class CorrectionOrigin(Record):
    """One reviewed item behind a question; a line of `origins.jsonl`.

    Who reviewed it, and what they noted, stays in the store.
    """

    id: str
    """The question's; items that asked the same have the same one."""
    request_id: str
    release: str
    """What proposed the answer that was reviewed."""
    decision: Literal["approve", "edit"]
    """Whether the proposal holds, or another option."""
    opinions: int = Field(ge=1, le=3)
    """Reviewers who looked at it."""
    asker_agrees: bool | None = None
    """Whether the asker's correction is what the reviewers settled on; None without one."""


class AskersRecord(Record):
    """What askers said, and how much of it a reviewer looked at.  None of it is a label."""

    said: int = Field(ge=0)
    """Requests with feedback."""
    helpful: int = Field(ge=0)
    """Thumbs up."""
    unhelpful: int = Field(ge=0)
    """Thumbs down."""
    corrected: int = Field(ge=0)
    """Answers for which an asker named an option; these are:"""
    confirmed: int = Field(ge=0)
    """the one that reviewers settled on,"""
    contradicted: int = Field(ge=0)
    """another one than they settled on,"""
    unconfirmed: int = Field(ge=0)
    """or settled by no reviewer: used for nothing."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.confirmed + self.contradicted + self.unconfirmed != self.corrected:
            raise ValueError("the askers' corrections do not add up")
        return self


class CorrectionsManifest(Record):
    """A snapshot of what reviewers settled, written by `medtune monitor corrections`."""

    kind: Literal["corrections"] = "corrections"
    hash: str
    """sha256 over role and hash of its split, as of any snapshot."""
    splits: tuple[SplitRecord] = Field(min_length=1, max_length=1)
    """The train split: there is no other, and its purpose is training."""
    decided: int = Field(ge=0)
    """Items that reviewers decided; they are approved, edited or left out."""
    undecided: int = Field(ge=0)
    """Items that wait, or that a reviewer holds."""
    approved: int = Field(ge=0)
    """Items in the split whose proposal holds."""
    edited: int = Field(ge=0)
    """Items in the split for which reviewers gave another option."""
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
    def _whole(self) -> Self:
        if self.splits[0].role != "train" or self.splits[0].purpose != "training":
            raise ValueError("corrections are a train split, for training only")
        if self.approved + self.edited + sum(self.left_out.values()) != self.decided:
            raise ValueError("the decided items do not add up")
        return self
