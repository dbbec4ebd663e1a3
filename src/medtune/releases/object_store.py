"""Content-addressed storage: files by the hash of their bytes, never changed."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import ValidationError

from medtune.core.errors import InputError, ReleaseError
from medtune.core.records import Record
from medtune.core.run_folder import hash_file, translate_disk_errors
from medtune.releases.schema import FileRef, path_fault

R = TypeVar("R", bound=Record)
BLOCK_BYTES = 1 << 20


class ObjectStore:
    """A folder of objects.

    Args:
        folder: The folder, which may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def object_path(self, sha256: str) -> Path:
        """Return the path of an object."""
        return self.folder / sha256[:2] / sha256[2:]

    def put_file(self, path: Path) -> FileRef:
        """Add a file; equal content is stored once.

        Raises:
            FolderError: The registry cannot be written.
        """
        with translate_disk_errors(self.folder), path.open("rb") as source:
            return self._put(source)

    def _put(self, source: BinaryIO) -> FileRef:
        with translate_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".part-")
            part = Path(name)
            try:
                with os.fdopen(handle, "wb") as target:
                    while block := source.read(BLOCK_BYTES):
                        digest.update(block)
                        target.write(block)
                        size += len(block)
                    target.flush()
                    os.fsync(target.fileno())
                place = self.object_path(digest.hexdigest())
                place.parent.mkdir(exist_ok=True)
                part.chmod(0o444)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        return FileRef(sha256=digest.hexdigest(), size_bytes=size)

    def put_folder(self, folder: Path) -> Mapping[str, FileRef]:
        """Add all files of a folder, by their path in it.

        Raises:
            InputError: One is not a regular file, or has an unsafe name; nothing was added.
            FolderError: The registry cannot be written.
        """
        found = dict(iter_files(folder))
        for name, path in found.items():
            fault = path_fault(name)
            if path.is_symlink():
                fault = "it is a symbolic link"
            elif not path.is_file():
                fault = "it is not a regular file"
            if fault:
                raise InputError(
                    f"{name!r} in {folder} cannot be released: {fault}",
                    expected="regular files",
                    fix=f"rename it, or copy what a link points to: cp -rL {folder} COPY",
                )
        return {name: self.put_file(path) for name, path in found.items()}

    def put_text(self, text: str) -> FileRef:
        """Add a text.

        Raises:
            FolderError: The registry cannot be written.
        """
        return self._put(io.BytesIO(text.encode()))

    def find_fault(self, ref: FileRef) -> str | None:
        """Verify an object's bytes; return what is wrong, or None."""
        path = self.object_path(ref.sha256)
        if path.is_symlink():
            return "its object is a symbolic link"
        if not path.is_file():
            return "its object is missing"
        found = hash_file(path)
        return None if found == ref.sha256 else f"sha256 is {found}, not {ref.sha256}"

    def file_ref(self, sha256: str) -> FileRef:
        """Return a reference to an object, by its hash alone.

        Raises:
            ReleaseError: It is missing.
        """
        path = self.object_path(sha256)
        if not path.is_file():
            raise ReleaseError(f"{path} is missing", fix="restore the object from a backup")
        return FileRef(sha256=sha256, size_bytes=path.stat().st_size)

    def load_text(self, ref: FileRef) -> str:
        """Read a text.

        Raises:
            ReleaseError: It is missing or changed.
        """
        if fault := self.find_fault(ref):
            raise ReleaseError(
                f"{self.object_path(ref.sha256)}: {fault}", fix="restore the object from a backup"
            )
        return self.object_path(ref.sha256).read_text(encoding="utf-8")

    def load_record(self, ref: FileRef, kind: type[R]) -> R:
        """Read a record.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        try:
            return kind.model_validate_json(self.load_text(ref))
        except ValidationError as error:
            raise ReleaseError(
                f"{self.object_path(ref.sha256)} is no {kind.__name__} of this version",
                fix="measure it again: medtune release evaluate",
            ) from error


def iter_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield files and links of a folder with their relative paths; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix(), path
