"""What a snapshot of data says about itself: where it came from, what was done, what is in it."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field

from medtune.core.experiment import ColumnMapping, DataConfig
from medtune.core.records import (
    Probability,
    Proportion,
    Provenance,
    Question,
    Record,
    SplitDescription,
)

Role = Literal["train", "validation", "calibration", "evaluated"]
Same = Literal["exact", "near"]
Purpose = Literal["any", "training"]
"""What a split may be used for; with "training", no model is examined or calibrated on it."""

LENGTH_EDGES = (0, 50, 100, 150, 200, 250, 300, 400, 500, 700, 1000, 1500)
"""Lower edges of the length histogram, characters; the last bin is open."""
LENGTH_BINS = (
    *(f"{low}–{high - 1}" for low, high in pairwise(LENGTH_EDGES)),
    f"{LENGTH_EDGES[-1]}+",
)
"""Their names."""
UNKNOWN = "(not stated)"
"""Stands for a missing subject in counts."""


def short_name(source: str) -> str:
    """Name a source where there is little room: a file without its folders."""
    kind, _, rest = source.partition(":")
    return rest.rpartition("/")[2] if kind in ("file", "snapshot") else source


class SourceRecord(Record):
    """One source as it was read."""

    source: str
    """As named in the experiment."""
    fingerprint: str
    """sha256 over the bytes of files, or over name and commit of a Hub dataset."""
    revision: str | None
    """Commit of a Hub dataset."""
    licence: str | None
    """As the source states it; None where nobody said."""
    columns: ColumnMapping
    """Which column was read as what."""
    answer_base: int | None
    """Whether indices counted from 0 or 1; None where answers were letters or texts."""
    rows: int = Field(ge=0)
    usable: int = Field(ge=0)
    """Questions that the contract let through."""
    excluded: dict[str, int]
    """Rows left out by the contract, by reason."""
    normalised: dict[str, int]
    """Cells whose text was changed, by kind of change; "damaged encoding" is only counted."""


class SplitCounts(Record):
    """What a split is made of, in counts."""

    subjects: dict[str, int]
    """Questions per subject, most frequent first."""
    letters: dict[str, int]
    """How often each letter is right."""
    options: dict[int, int]
    """Questions by their number of options."""
    lengths: tuple[int, ...]
    """Histogram of stem and options together, characters, over `LENGTH_EDGES`."""
    median_length: int
    """Characters."""
    negated: int
    """Stems that ask for the exception."""
    explained: int
    """Questions with an explanation."""
    unlabelled: int
    """Questions whose label is not released."""


class SplitRecord(Record):
    """One split of a snapshot."""

    role: Role
    file: str
    """Parquet file beside the manifest; its name carries the hash."""
    description: SplitDescription
    profile: SplitCounts
    purpose: Purpose = "any"
    """"training" where it holds corrections of the endpoint, be it a single one."""


class OverlapCount(Record):
    """Questions of one split that stand in another, or earlier in the same one."""

    source: str
    """Whose questions are counted."""
    among: str
    """Where their like was found; equal to `source` for repetitions."""
    exact: int = Field(ge=0)
    """Equal up to case, punctuation, exam tags and the order of options."""
    near: int = Field(ge=0)
    """Near-duplicates only."""
    conflicts: int = Field(ge=0)
    """Of both, those whose right answers differ."""
    share: Proportion
    """exact and near together among all questions of `source`, Wilson 95 %."""


class OverlapExample(Record):
    """Two questions that were taken for one."""

    same: Same
    conflict: bool
    """Whether their right answers differ."""
    similarity: Probability
    """rapidfuzz ratio of the folded texts."""
    source: str
    question: Question
    among: str
    twin: Question


class CurationStep(Record):
    """What one strategy did."""

    name: str
    before: int
    left_out: dict[str, int]
    """By reason."""


class BalanceRecord(Record):
    """How `train_size` was shared out over one subject or letter."""

    name: str
    available: int
    drawn: int
    weight: float
    """Relative to its size; 1 is as it comes."""
    earlier: Proportion | None = None
    """Accuracy of the evaluation that `weak_from` names, Wilson 95 %."""
    weak: bool = False


class Exclusion(Record):
    """One question or row that was left out; a line of `excluded.jsonl`."""

    source: str
    id: str
    """The question's id, or the row's place where it has none."""
    reason: str
    twin: str | None = None
    """For repetitions, the question that stays: "starter:recall recall-012"."""


class SnapshotManifest(Record):
    """A snapshot: what it holds, made of what, and how."""

    kind: Literal["snapshot"] = "snapshot"
    inputs: str
    """Hash of sources, settings, seed and rules; equal inputs give equal snapshots."""
    hash: str
    """sha256 over the roles and hashes of the splits: the snapshot's name."""
    seed: int
    config: DataConfig
    sources: tuple[SourceRecord, ...]
    """Train first, then the evaluated ones, in the experiment's order."""
    overlap: tuple[OverlapCount, ...]
    examples: tuple[OverlapExample, ...]
    clusters: int
    """Groups of questions that a split must not part, among the train questions kept."""
    curation: tuple[CurationStep, ...]
    balance: tuple[BalanceRecord, ...]
    splits: tuple[SplitRecord, ...]
    excluded_hash: str
    """sha256 of `excluded.jsonl`."""
    provenance: Provenance

    @property
    def train(self) -> SplitRecord:
        """The split to train on."""
        return self.splits[0]

    @property
    def evaluated(self) -> tuple[SplitRecord, ...]:
        """The splits to report on."""
        return tuple(split for split in self.splits if split.role == "evaluated")


class MappingProposal(Record):
    """What `medtune prepare --inspect` read off a file."""

    kind: Literal["inspection"] = "inspection"
    source: str
    rows_read: int
    columns: dict[str, str]
    """Per column of the file an example of its values."""
    mapping: ColumnMapping
    why: dict[str, str]
    """Per part of the mapping what speaks for it."""
    problems: tuple[str, ...]
    """What must be settled by hand; with none, the mapping can be used as it is."""
    toml: str
    """The mapping as lines for an experiment file."""
    excluded: dict[str, int]
    """Rows of the sample that the contract leaves out, by reason."""
    questions: tuple[str, ...]
    """Up to ten questions, each as the model will see it."""


class VerificationRecord(Record):
    """What `medtune prepare --verify` found."""

    kind: Literal["verification"] = "verification"
    folder: str
    hash: str
    """The snapshot's own."""
    questions: int
    """In all its splits."""
    remade: str | None
    """Hash of the snapshot made again from its sources; None where that was not possible."""
    faults: tuple[str, ...]
    """What is wrong; nothing if the snapshot can be trusted."""
