"""Files under the hash of their bytes: equal ones are kept once, and none is ever changed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from medtune.core.errors import InputError, ReleaseError
from medtune.core.records import Record
from medtune.core.run_folder import disk_errors, sha256_of
from medtune.releases.schema import FileRef, unsafe

R = TypeVar("R", bound=Record)
BLOCK = 1 << 20


class ObjectStore:
    """The objects in a folder.

    Args:
        folder: Where they are, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, sha256: str) -> Path:
        """Name the place of an object."""
        return self.folder / sha256[:2] / sha256[2:]

    def put(self, path: Path) -> FileRef:
        """Add a file's bytes; equal ones are kept once.

        Raises:
            FolderError: The registry cannot be written.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".part-")
            part = Path(name)
            try:
                with path.open("rb") as source, os.fdopen(handle, "wb") as target:
                    while block := source.read(BLOCK):
                        digest.update(block)
                        target.write(block)
                        size += len(block)
                    target.flush()
                    os.fsync(target.fileno())
                place = self.place(digest.hexdigest())
                place.parent.mkdir(exist_ok=True)
                part.chmod(0o444)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        return FileRef(sha256=digest.hexdigest(), size_bytes=size)

    def put_all(self, folder: Path) -> Mapping[str, FileRef]:
        """Add all files of a folder, by their path in it.

        Raises:
            InputError: One is no plain file, as a symbolic link is none, or its name is unsafe;
                nothing was added.
            FolderError: The registry cannot be written.
        """
        found = dict(below(folder))
        for name, path in found.items():
            fault = unsafe(name)
            if path.is_symlink():
                fault = "it is a symbolic link"
            elif not path.is_file():
                fault = "it is no file"
            if fault:
                raise InputError(
                    f"{name!r} in {folder} cannot be released: {fault}",
                    expected="plain files",
                    fix=f"rename it, or copy what a link points to: cp -rL {folder} COPY",
                )
        return {name: self.put(path) for name, path in found.items()}

    def put_text(self, text: str) -> FileRef:
        """Add a text.

        Raises:
            FolderError: The registry cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text"
            path.write_text(text, encoding="utf-8")
            return self.put(path)

    def fault(self, ref: FileRef) -> str | None:
        """Read every byte of an object again; say what is wrong with it."""
        path = self.place(ref.sha256)
        if path.is_symlink():
            return "its object is a symbolic link"
        if not path.is_file():
            return "its object is missing"
        found = sha256_of(path)
        return None if found == ref.sha256 else f"sha256 is {found}, not {ref.sha256}"

    def ref(self, sha256: str) -> FileRef:
        """Refer to an object by its hash alone.

        Raises:
            ReleaseError: It is missing.
        """
        path = self.place(sha256)
        if not path.is_file():
            raise ReleaseError(f"{path} is missing", fix="restore the object from a backup")
        return FileRef(sha256=sha256, size_bytes=path.stat().st_size)

    def text(self, ref: FileRef) -> str:
        """Read a text back.

        Raises:
            ReleaseError: It is missing or changed.
        """
        if fault := self.fault(ref):
            raise ReleaseError(
                f"{self.place(ref.sha256)}: {fault}", fix="restore the object from a backup"
            )
        return self.place(ref.sha256).read_text(encoding="utf-8")

    def record(self, ref: FileRef, kind: type[R]) -> R:
        """Read a record back.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        try:
            return kind.model_validate_json(self.text(ref))
        except ValidationError as error:
            raise ReleaseError(
                f"{self.place(ref.sha256)} is no {kind.__name__} of this version",
                fix="measure it again: medtune release evaluate",
            ) from error


def below(folder: Path) -> Iterator[tuple[str, Path]]:
    """List whatever a folder holds that is no folder, by its path in it; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix(), path
