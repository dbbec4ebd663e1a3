"""Run folders and paths: locking, atomic writes, records that show whether a step is valid, ~."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from medtune.core.errors import FolderBusyError, FolderError
from medtune.core.records import Record

R = TypeVar("R", bound=Record)

_ADVICE_BY_ERRNO = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose another folder with --out"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose a writable folder with --out"),
    errno.EFBIG: ("the file is larger than is allowed", "raise `ulimit -f`, or use another disk"),
    errno.EACCES: ("permission denied", "choose a folder that you may write, with --out"),
    errno.EPERM: ("operation not permitted", "choose a folder that you may write, with --out"),
    errno.ENOTDIR: ("part of the path is a file", "choose another folder with --out"),
    errno.EEXIST: ("a file exists where a folder is needed", "choose another folder with --out"),
}


def expand_home(text: str) -> str:
    """Return a path with the user's home in place of ~, also after a kind: `path:~/model`."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's fails for a user without a home
    return re.sub(r"^([a-z]+:)?~(?=/|$)", lambda found: (found[1] or "") + home, text)


def as_path(path: str | Path) -> Path:
    """Return a path that a user has given, with the user's home in place of ~."""
    return Path(expand_home(str(path)))


def as_optional_path(path: str | Path | None) -> Path | None:
    """Return a path as `as_path` does; None stays."""
    return None if path is None else as_path(path)


@contextmanager
def translate_disk_errors(path: Path) -> Iterator[None]:
    """Translate disk errors into a FolderError about `path`.

    Raises:
        FolderError: The disk is full or read-only, or access is denied. Other OSErrors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE_BY_ERRNO:
            raise
        what, fix = _ADVICE_BY_ERRNO[error.errno]
        raise FolderError(f"cannot write {path}: {what}", fix=fix) from error


@contextmanager
def lock_folder(folder: Path, wait: bool = False) -> Iterator[Path]:
    """Create a run folder and lock it; the lock ends with the process at the latest.

    With `wait`, wait until another process releases the lock.

    Raises:
        FolderBusyError: Another process holds the lock.
        FolderError: The folder cannot be written.
    """
    with translate_disk_errors(folder):
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise FolderBusyError(
                f"{folder} is in use by another run (process {holder})",
                expected="one run per folder",
                fix="wait for it to end, or choose another folder with --out",
            ) from error
        with translate_disk_errors(folder):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        try:
            yield folder
        finally:
            # If the work failed before it wrote anything, remove the empty folders.
            if made and [path.name for path in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                for place in made:
                    if any(place.iterdir()):
                        break
                    place.rmdir()


def write_atomic(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file atomically: to a temporary file beside it, flushed, then renamed.

    Raises:
        FolderError: The file cannot be written; no temporary file is left.
    """
    with translate_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed before it is renamed
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        )
        try:
            with handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            Path(handle.name).chmod(0o644)
            Path(handle.name).replace(path)
        except BaseException:
            Path(handle.name).unlink(missing_ok=True)
            raise


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Replace a folder atomically; yields the staging folder to write to.

    Raises:
        FolderError: The folder cannot be written; an older one is unchanged.
    """
    with translate_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            yield staging
            shutil.rmtree(folder, ignore_errors=True)
            staging.chmod(0o755)  # a temporary folder is its owner's alone
            staging.replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def slugify(*parts: str) -> str:
    """Return a folder name made of the letters and digits of the parts, joined by dashes."""
    cleaned = ("".join(c if c.isalnum() else "-" for c in part).strip("-") for part in parts)
    return "-".join(part for part in cleaned if part)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomic(path, lambda handle: handle.write(text.encode()))


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically as indented JSON."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[R]) -> R | None:
    """Read a record; None if there is none, or if it does not fit the current schema.

    A record of an older schema is not an error: its step runs again.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def read_valid_record(path: Path, kind: type[R], inputs: str) -> R | None:
    """Read a step's record if it was made from these inputs; None if the step must run."""
    record = read_record(path, kind)
    return record if record is not None and getattr(record, "inputs", None) == inputs else None
