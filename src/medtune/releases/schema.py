"""A release: everything that decides an answer.  What was measured of it is in `releases/gate_schema.py`."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from medtune.core.errors import InputError, ReleaseError
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Method, Provenance, Record, content_hash
from medtune.core.schemas.audit import AuditLine
from medtune.core.schemas.guardrails import ServingCalibration

Alias = Literal["champion", "challenger"]
WEIGHTS, POLICY, LEARNED = "weights", "policy.toml", "guard.json"
"""What a release's files are: the weights' folder, the policy, the learned guard."""
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
LONGEST = 255
"""Bytes of a file's name that every common file system takes."""


def check_name(name: str) -> None:
    """Refuse what cannot be a release's name.

    Raises:
        InputError: It has other characters, or is an alias.
    """
    if not re.fullmatch(NAME, name):
        expected = "1 to 64 letters, digits, . _ -; the first a letter or a digit"
        raise InputError(f"{name!r} is no name for a release", expected=expected)
    if name in ALIASES:
        raise InputError(
            f"{name} is an alias, and no name for a release", fix="choose another name"
        )


def unsafe(path: str) -> str | None:
    """Tell why a file's path in a release cannot be trusted; None where it can.

    A path is made of plain names joined by `/`: on no system does it lead out of its folder.
    """
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "it leads elsewhere, or nowhere"
        if not part.isprintable() or part != part.strip():
            return "a character in it cannot be seen"
        if set(part) & set("\\:"):
            return "it has a backslash or a colon"
        if len(part.encode()) > LONGEST:
            return "it is too long"
    return None


def inside(folder: Path, path: str) -> Path:
    """Join a file's path in a release to a folder.

    Raises:
        ReleaseError: It could lead out of the folder.
    """
    if fault := unsafe(path):
        raise ReleaseError(f"the file name {path!r} is unsafe: {fault}", expected="a plain path")
    return folder / path


def _only_safe(files: dict[str, FileRef]) -> dict[str, FileRef]:
    for path in files:
        if fault := unsafe(path):
            raise ValueError(f"the file name {path!r} is unsafe: {fault}")
        for above in PurePosixPath(path).parents:
            if str(above) in files:
                raise ValueError(f"the file name {str(above)!r} is a folder's, too")
    return files


class FileRef(Record):
    """One file, by what is in it."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Release(Record):
    """What a registry keeps of a release; its id is a hash of all of it."""

    kind: Literal["release"] = "release"
    name: str = Field(pattern=NAME)
    """For people; unique in a registry."""
    base: str
    """Name of the base model, with its revision where the Hub has one."""
    base_fingerprint: str
    weights: Literal["adapter", "model", "base"]
    """Whether the files are an adapter for the base, a whole model, or the base is served."""
    weights_hash: str | None
    """sha256 of the weights' file; None where the base is served."""
    scheme: str | None
    """How the weights are packed; None is as they were trained. One that there is no more is listed
    all the same: its weights are refused where they are opened."""
    prompt_hash: str
    style: PromptStyle
    target: Form
    method: Method
    data_hash: str | None
    """Of the train split; None for a base model."""
    policy: str
    """Version of the policy, whose file is among the files; so is the learned guard's."""
    policy_hash: str
    calibration: ServingCalibration | None
    files: Annotated[dict[str, FileRef], AfterValidator(_only_safe)]
    """By their path in the release's folder; see `unsafe`."""
    note: str = ""
    created: datetime
    """UTC."""
    provenance: Provenance

    @cached_property
    def id(self) -> str:
        """Hash of everything in it; 64 hex digits."""
        said = self.model_dump(mode="json")
        if self.calibration is not None and self.calibration.accuracy is None:
            del said["calibration"]["accuracy"]  # what was built before it was kept has its old id
        return content_hash(said)


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


class ReleaseLog(Record):
    """What was done in a registry, in order."""

    kind: Literal["release log"] = "release log"
    lines: tuple[AuditLine, ...]
    names: dict[str, str]
    """Of releases, by their id."""


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
