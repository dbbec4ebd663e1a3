"""Records of a data snapshot: its sources, its processing and its content."""

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
DuplicateKind = Literal["exact", "near"]
Purpose = Literal["any", "training"]
"""Allowed use of a split; with "training", no model is evaluated or calibrated on it."""

LENGTH_EDGES = (0, 50, 100, 150, 200, 250, 300, 400, 500, 700, 1000, 1500)
"""Lower edges of the length histogram, characters; the last bin is open."""
LENGTH_BINS = (
    *(f"{low}–{high - 1}" for low, high in pairwise(LENGTH_EDGES)),
    f"{LENGTH_EDGES[-1]}+",
)
NO_SUBJECT = "(not stated)"
"""Label of a missing subject in counts."""


def short_source_name(source: str) -> str:
    """Return a short name of a source: for a file, its name without folders."""
    kind, _, rest = source.partition(":")
    return rest.rpartition("/")[2] if kind in ("file", "snapshot") else source


class SourceRecord(Record):
    """Description of one source as it was read."""

    source: str
    """Source as named in the experiment."""
    fingerprint: str
    """sha256 over the bytes of files, or over name and commit of a Hub dataset."""
    revision: str | None
    """Commit of a Hub dataset."""
    licence: str | None
    """Licence as the source states it; None if it is not stated."""
    columns: ColumnMapping
    answer_base: int | None
    """Whether indices counted from 0 or 1; None where answers were letters or texts."""
    rows: int = Field(ge=0)
    usable: int = Field(ge=0)
    """Rows that satisfy the data contract."""
    excluded: dict[str, int]
    """Rows left out by the contract, by reason."""
    normalised: dict[str, int]
    """Cells whose text was changed, by kind of change; "damaged encoding" is only counted."""


class SplitCounts(Record):
    """Counts that describe a split."""

    subjects: dict[str, int]
    """Questions per subject, most frequent first."""
    letters: dict[str, int]
    options: dict[int, int]
    """Questions by their number of options."""
    lengths: tuple[int, ...]
    """Histogram of stem and options together, characters, over `LENGTH_EDGES`."""
    median_length: int
    """Characters."""
    negated: int
    """Stems that ask for the exception."""
    explained: int
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
    """"training" if it holds at least one correction of the endpoint."""


class OverlapCount(Record):
    """Number of questions of one split that also occur in another, or earlier in the same."""

    source: str
    """Source whose questions are counted."""
    among: str
    """Split in which the duplicates were found; equal to `source` for repetitions."""
    exact: int = Field(ge=0)
    """Duplicates that differ at most in case, punctuation, exam tags and order of options."""
    near: int = Field(ge=0)
    """Near-duplicates only."""
    conflicts: int = Field(ge=0)
    """Number of exact and near duplicates whose right answers differ."""
    share: Proportion
    """exact and near together among all questions of `source`, Wilson 95 %."""


class OverlapExample(Record):
    """Example of two questions that were judged to be the same."""

    same: DuplicateKind
    conflict: bool
    """Whether their right answers differ."""
    similarity: Probability
    """rapidfuzz ratio of the canonical texts."""
    source: str
    question: Question
    among: str
    twin: Question


class CurationStep(Record):
    """Result of one curation strategy."""

    name: str
    before: int
    left_out: dict[str, int]


class BalanceRecord(Record):
    """Share of `train_size` that one subject or letter got."""

    name: str
    available: int
    drawn: int
    weight: float
    """Weight relative to its size; 1 is proportional."""
    earlier: Proportion | None = None
    """Accuracy of the evaluation that `weak_from` names, Wilson 95 %."""
    weak: bool = False


class Exclusion(Record):
    """An excluded question or row; a line of `excluded.jsonl`."""

    source: str
    id: str
    """The question's id, or the row's position if it has none."""
    reason: str
    twin: str | None = None
    """For repetitions, the question that stays: "starter:recall recall-012"."""


class SnapshotManifest(Record):
    """Manifest of a snapshot: its splits, sources and settings."""

    kind: Literal["snapshot"] = "snapshot"
    inputs: str
    """Hash of sources, settings, seed and rules; equal inputs give equal snapshots."""
    hash: str
    """sha256 over the roles and hashes of the splits: the snapshot's name."""
    seed: int
    config: DataConfig
    sources: tuple[SourceRecord, ...]
    """The train source, then the evaluated sources, in the experiment's order."""
    overlap: tuple[OverlapCount, ...]
    examples: tuple[OverlapExample, ...]
    clusters: int
    """Groups of train questions that must not be divided between splits."""
    curation: tuple[CurationStep, ...]
    balance: tuple[BalanceRecord, ...]
    splits: tuple[SplitRecord, ...]
    excluded_hash: str
    """sha256 of `excluded.jsonl`."""
    provenance: Provenance

    @property
    def train_split(self) -> SplitRecord:
        """Split to train on."""
        return self.splits[0]

    @property
    def evaluated_splits(self) -> tuple[SplitRecord, ...]:
        """Splits to report accuracies on."""
        return tuple(split for split in self.splits if split.role == "evaluated")


class MappingProposal(Record):
    """Column mapping that `medtune prepare --inspect` proposes for a file."""

    kind: Literal["inspection"] = "inspection"
    source: str
    rows_read: int
    columns: dict[str, str]
    mapping: ColumnMapping
    why: dict[str, str]
    problems: tuple[str, ...]
    """Problems to solve by hand; if there are none, the mapping can be used as it is."""
    toml: str
    """The mapping as lines for an experiment file."""
    excluded: dict[str, int]
    """Rows of the sample that violate the data contract, by reason."""
    questions: tuple[str, ...]
    """Up to ten questions, each as the model will see it."""


class VerificationRecord(Record):
    """Result of `medtune prepare --verify`."""

    kind: Literal["verification"] = "verification"
    folder: str
    hash: str
    questions: int
    remade: str | None
    """Hash of the snapshot rebuilt from its sources; None if that was not possible."""
    faults: tuple[str, ...]
    """Faults that were found; empty if the snapshot is valid."""
