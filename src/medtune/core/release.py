"""A release: everything that decides an answer.  What was measured of it is in `core/gate.py`."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import Field

from medtune.core.guard import Calibration
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Method, Provenance, Record, content_hash

Alias = Literal["champion", "challenger"]
WEIGHTS, POLICY, LEARNED = "weights", "policy.toml", "guard.json"
"""What a release's files are: the weights' folder, the policy, the learned guard."""
ALIASES: tuple[Alias, ...] = ("champion", "challenger")


class FileRef(Record):
    """One file, by what is in it."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Release(Record):
    """What a registry keeps of a release; its id is a hash of all of it."""

    kind: Literal["release"] = "release"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """For people; unique in a registry."""
    base: str
    """Name of the base model, with its revision where the Hub has one."""
    base_fingerprint: str
    weights: Literal["adapter", "model", "base"]
    """Whether the files are an adapter for the base, a whole model, or the base is served."""
    weights_hash: str | None
    """sha256 of the weights' file; None where the base is served."""
    scheme: str | None
    """How the weights are packed; None is as they were trained."""
    prompt_hash: str
    style: PromptStyle
    target: Form
    method: Method
    data_hash: str | None
    """Of the train split; None for a base model."""
    policy: str
    """Version of the policy, whose file is among the files; so is the learned guard's."""
    policy_hash: str
    calibration: Calibration | None
    files: dict[str, FileRef]
    """By their path in the release's folder."""
    note: str = ""
    created: datetime
    """UTC."""
    provenance: Provenance

    @cached_property
    def id(self) -> str:
        """Hash of everything in it; 64 hex digits."""
        return content_hash(self.model_dump(mode="json"))


class ReleaseRow(Record):
    """One release in a list."""

    id: str
    name: str
    created: datetime
    base: str
    scheme: str | None
    aliases: tuple[Alias, ...]


class ReleaseList(Record):
    """All releases, the oldest first."""

    kind: Literal["releases"] = "releases"
    releases: tuple[ReleaseRow, ...]


class Verification(Record):
    """A release, read back byte by byte."""

    kind: Literal["release verification"] = "release verification"
    id: str
    name: str
    files: int
    size_bytes: int
    duration_s: float
    faults: tuple[str, ...]
    """What is missing or changed; empty is whole."""
