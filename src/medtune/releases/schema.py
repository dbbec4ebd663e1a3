"""Records of a release. What was measured of it is in `releases/gate_schema.py`."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from medtune.core.errors import InputError, ReleaseError
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.records import Method, Provenance, Record, content_hash
from medtune.core.schemas.audit import AuditLine
from medtune.core.schemas.guardrails import ServingCalibration

Alias = Literal["champion", "challenger"]
WEIGHTS, POLICY, LEARNED = "weights", "policy.toml", "guard.json"
"""Names in a release: the weights' folder, the policy, the learned guard."""
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MAX_NAME_BYTES = 255
"""Longest file name, in bytes, that all common file systems support."""


def check_name(name: str) -> None:
    """Check a release name.

    Raises:
        InputError: It is invalid, or is an alias.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        expected = "1 to 64 letters, digits, . _ -; the first a letter or a digit"
        raise InputError(f"{name!r} is not a valid release name", expected=expected)
    if name in ALIASES:
        raise InputError(
            f"{name} is an alias, not the name of a release", fix="choose another name"
        )


def path_fault(path: str) -> str | None:
    """Return why a file's path in a release is unsafe; None if it is safe.

    A safe path consists of plain names joined by `/`: on no system does it lead out of its folder.
    """
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "it leads elsewhere, or nowhere"
        if not part.isprintable() or part != part.strip():
            return "a character in it cannot be seen"
        if set(part) & set("\\:"):
            return "it has a backslash or a colon"
        if len(part.encode()) > MAX_NAME_BYTES:
            return "it is too long"
    return None


def safe_join(folder: Path, path: str) -> Path:
    """Join a folder and a file's path in a release, if the path is safe.

    Raises:
        ReleaseError: It could lead out of the folder.
    """
    if fault := path_fault(path):
        raise ReleaseError(f"the file name {path!r} is unsafe: {fault}", expected="a plain path")
    return folder / path


def _check_safe_paths(files: dict[str, FileRef]) -> dict[str, FileRef]:
    for path in files:
        if fault := path_fault(path):
            raise ValueError(f"the file name {path!r} is unsafe: {fault}")
        for above in PurePosixPath(path).parents:
            if str(above) in files:
                raise ValueError(f"the file name {str(above)!r} is a folder's, too")
    return files


class FileRef(Record):
    """A reference to a file by the hash of its content."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Release(Record):
    """A release as the registry stores it; its id is a hash of all fields."""

    kind: Literal["release"] = "release"
    name: str = Field(pattern=NAME_PATTERN)
    """Unique in a registry."""
    base: str
    """Name of the base model, with the revision of a Hub model."""
    base_fingerprint: str
    weights: Literal["adapter", "model", "base"]
    """Kind of the files: an adapter for the base, a whole model, or none if the base is served."""
    weights_hash: str | None
    """SHA-256 of the weights file; None if the base itself is served."""
    scheme: str | None
    """Quantization scheme; None for unquantized weights. A release whose scheme no longer exists is
    still listed; its weights are refused when they are opened."""
    prompt_hash: str
    style: PromptStyle
    target: FormName
    method: Method
    data_hash: str | None
    """Hash of the train split; None for a base model."""
    policy: str
    """Version of the policy, whose file is included, as is the learned guard's."""
    policy_hash: str
    calibration: ServingCalibration | None
    files: Annotated[dict[str, FileRef], AfterValidator(_check_safe_paths)]
    """By their path in the release, which must be safe (see `path_fault`)."""
    note: str = ""
    created: datetime
    """UTC."""
    provenance: Provenance

    @property
    def is_trained(self) -> bool:
        """Whether it was trained, on recorded questions or, as an adapter, on unknown ones."""
        return self.weights == "adapter" or self.data_hash is not None

    @cached_property
    def id(self) -> str:
        """Hash of all fields; 64 hex digits."""
        said = self.model_dump(mode="json")
        if self.calibration is not None and self.calibration.accuracy is None:
            del said["calibration"]["accuracy"]  # keeps the id of releases older than this field
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
    """The log of a registry, in order."""

    kind: Literal["release log"] = "release log"
    lines: tuple[AuditLine, ...]
    names: dict[str, str]
    """Names of the releases by id."""


class Verification(Record):
    """The result of verifying a release's files."""

    kind: Literal["release verification"] = "release verification"
    id: str
    name: str
    files: int
    size_bytes: int
    duration_s: float
    faults: tuple[str, ...]
    """Files that are missing or changed; empty if there are none."""
