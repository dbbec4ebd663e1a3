"""The registry on disk: content-addressed objects and releases, aliases and a log.

    objects/ab/cdef...    files, each under the sha256 of its bytes
    releases/ID.json      a release; all its objects exist
    aliases.json          which release is champion, which challenger
    log.jsonl             all actions, as a hash chain
    suite.json            the frozen suite (see `evidence_store`)
    trees/ID/             a release's files under their names, made when it is served

Nothing is changed or deleted. The log is authoritative: aliases that contradict it are refused, and
evidence and verdicts are objects that it names. Every write goes to a temporary file that is
flushed and renamed: a killed process leaves at most an object that no release names, or an unused
file. Writers lock the registry; readers never wait.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import tee
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from medtune.core.errors import InputError, ReleaseError
from medtune.core.records import Record
from medtune.core.run_folder import (
    hash_file,
    lock_folder,
    replace_folder,
    write_record,
    write_text,
)
from medtune.core.schemas.audit import AuditLine, Detail, make_next_line, verify_chain
from medtune.releases.object_store import ObjectStore, iter_files
from medtune.releases.schema import (
    ALIASES,
    Alias,
    Release,
    ReleaseRow,
    Verification,
    check_name,
    safe_join,
)

MAX_HASHED_BYTES = 1 << 29
"""Number of bytes that can be hashed in half a second."""
SHORT_ID_LENGTH = 12
"""Number of digits of an id that are shown."""


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Aliases(Record):
    """The releases that the aliases point to."""

    champion: Id | None = None
    challenger: Id | None = None

    def with_alias(self, alias: str, to: str | None) -> Aliases:
        """Return the aliases with one of them set to another release.

        A challenger that becomes champion is no longer challenger.
        """
        update = {alias: to}
        if alias == "champion" and self.challenger == to:
            update["challenger"] = None
        return self.model_copy(update=update)


class Registry:
    """A registry in a folder.

    Args:
        folder: The folder, which may be missing.
        now: Returns the current time.
    """

    def __init__(
        self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder = folder
        self._now = now
        self.objects = ObjectStore(folder / "objects")
        self._releases, self._log = folder / "releases", folder / "log.jsonl"
        self._aliases = folder / "aliases.json"
        self._lines: tuple[tuple[int, int, int], tuple[AuditLine, ...]] | None = None

    # Reading

    def release_rows(self) -> list[ReleaseRow]:
        """List all releases, the oldest first.

        Raises:
            ReleaseError: One cannot be read.
        """
        aliases = self.read_aliases()
        return [
            ReleaseRow(
                id=one.id,
                name=one.name,
                created=one.created,
                base=one.base,
                scheme=one.scheme,
                aliases=tuple(a for a in ALIASES if getattr(aliases, a) == one.id),
            )
            for one in self.read_releases()
        ]

    def read_releases(self) -> list[Release]:
        """Read all releases, the oldest first.

        Raises:
            ReleaseError: One cannot be read.
        """
        found = [self._read_release(path) for path in self._releases.glob("*.json")]
        return sorted(found, key=lambda one: (one.created, one.id))

    def find(self, name: str) -> Release:
        """Find a release by alias, name, id, or the beginning of its id.

        Raises:
            ReleaseError: There is none, or there are several.
        """
        if name in ALIASES:
            found = getattr(self.read_aliases(), name)
            if found is None:
                raise ReleaseError(f"{self.folder} has no {name}", fix="medtune release promote")
            return self._read_release(self._releases / f"{found}.json")
        paths = list(self._releases.glob("*.json"))
        wanted = [p for p in paths if len(name) >= 6 and p.stem.startswith(name)]
        read = [self._read_release(path) for path in wanted or paths]
        found = read if wanted else [one for one in read if one.name == name]
        if len(found) != 1:
            what = f"{len(found)} releases are called" if found else "no release is called"
            raise ReleaseError(f"{self.folder}: {what} {name}", fix="medtune release list")
        return found[0]

    def read_aliases(self) -> Aliases:
        """Read the aliases, and check them against the log.

        A missing file is accepted, since the log has its content. So is a file one step behind the
        log, which a killed process leaves: an action in the log counts as done.

        Raises:
            ReleaseError: The file contradicts the log, or is damaged.
            StoreError: The log was changed.
        """
        while True:
            written = self._read_alias_file()
            told, before = self._aliases_from_log()
            try:
                found = Aliases.model_validate_json(written) if written is not None else told
            except ValidationError as error:
                raise self._alias_error("cannot be read") from error
            if found in (told, before):
                return told
            if written == self._read_alias_file():  # not changed in between
                wrong = next(a for a in ALIASES if getattr(found, a) != getattr(told, a))
                one, other = (str(getattr(x, wrong))[:SHORT_ID_LENGTH] for x in (found, told))
                raise self._alias_error(f"says that {wrong} is {one}, where the log says {other}")

    def _read_alias_file(self) -> bytes | None:
        try:
            return self._aliases.read_bytes()
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise ReleaseError(
                f"{self.folder} is no folder", expected="the folder of a registry"
            ) from error

    def _aliases_from_log(self) -> tuple[Aliases, Aliases]:
        """Return the aliases by the log, and those before its last line."""
        told, before = Aliases(), Aliases()
        for line in self.read_log():
            before, alias = told, line.detail.get("alias")
            if alias in ALIASES:
                told = told.with_alias(str(alias), None if line.subject == "none" else line.subject)
        return told, before

    def _alias_error(self, fault: str) -> ReleaseError:
        return ReleaseError(
            f"{self._aliases} {fault}",
            expected=f"the aliases in {self._log.name}, which commands set",
            fix=f"delete {self._aliases}: the log has its content",
        )

    def read_log(self) -> tuple[AuditLine, ...]:
        """Read the log; a last line cut off by a kill is left out.

        Raises:
            StoreError: A line was changed, or is missing.
        """
        try:
            found = self._log.stat()
        except FileNotFoundError:
            return ()
        state = found.st_ino, found.st_size, found.st_mtime_ns
        if self._lines is None or self._lines[0] != state:
            # Not splitlines: U+2028 in a name ends no line.
            texts = self._log.read_bytes().split(b"\n")[:-1]
            lines, again = tee(map(AuditLine.model_validate_json, texts))
            verify_chain(lines, str(self._log))
            self._lines = state, tuple(again)
        return self._lines[1]

    def verify(self, release: Release) -> Verification:
        """Verify the bytes of a release, its file tree, the aliases and the log.

        Raises:
            StoreError: The log was changed.
        """
        start = time.perf_counter()
        faults = list(self._find_damage(release))
        tree = self.folder / "trees" / release.id
        faults += [f"{link} is a symbolic link: delete {tree}" for link in _find_symlinks(tree)]
        try:
            self.read_aliases()
        except ReleaseError as error:
            faults.append(error.found)
        return Verification(
            id=release.id,
            name=release.name,
            files=len(release.files),
            size_bytes=sum(ref.size_bytes for ref in release.files.values()),
            duration_s=time.perf_counter() - start,
            faults=tuple(faults),
        )

    def _find_damage(self, release: Release) -> Iterator[str]:
        for name, ref in release.files.items():
            if fault := self.objects.find_fault(ref):
                yield f"{name}: {fault}"

    def materialize_tree(self, release: Release) -> Path:
        """Materialize a release's files under their names, verifying each.

        A tree that does not match the release is replaced.

        Raises:
            ReleaseError: A file is missing or changed; no tree is written.
            FolderError: The folder cannot be written.
        """
        place = self.folder / "trees" / release.id
        if fault := next(self._find_damage(release), None):
            raise ReleaseError(
                f"release {release.name} is damaged: {fault}",
                expected="the bytes that were released",
                fix="restore the object from a backup, or roll back",
            )
        if not self._is_laid_out(place, release):
            if place.is_symlink():
                place.unlink()
            with replace_folder(place) as staging:
                for name, ref in release.files.items():
                    target = safe_join(staging, name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link_or_copy(self.objects.object_path(ref.sha256), target)
        return place

    def ensure_tree(self, release: Release) -> Path:
        """Materialize a release's files unless they exist; large ones are not read again.

        An alias has to change at once, and loading a release verifies its files anyway.

        Raises:
            ReleaseError: A file is missing or changed; no tree is written.
            FolderError: The folder cannot be written.
        """
        place = self.folder / "trees" / release.id
        sizes = {name: ref.size_bytes for name, ref in release.files.items()}
        found = {name: path.lstat().st_size for name, path in iter_files(place)}
        is_there = found == sizes and not _find_symlinks(place)
        return (
            place
            if is_there and sum(sizes.values()) > MAX_HASHED_BYTES
            else self.materialize_tree(release)
        )

    def _is_laid_out(self, place: Path, release: Release) -> bool:
        """Return whether a folder has exactly a release's files: links to objects, or copies."""
        there = {name for name, _ in iter_files(place)}
        return (
            there == set(release.files)
            and not _find_symlinks(place)
            and all(
                (place / name).samefile(self.objects.object_path(ref.sha256))
                or hash_file(place / name) == ref.sha256
                for name, ref in release.files.items()
            )
        )

    # Writing

    def add_release(self, release: Release, actor: str) -> Release:
        """Add a release whose objects exist.

        Raises:
            InputError: The name is taken or invalid.
            ReleaseError: An object is missing.
        """
        check_name(release.name)
        with self.writing():
            if any(
                row.name == release.name and row.id != release.id for row in self.release_rows()
            ):
                raise InputError(
                    f"a release {release.name} is there already",
                    expected="a name of its own: releases are never changed",
                    fix="choose another name",
                )
            missing = [
                name
                for name, ref in release.files.items()
                if not self.objects.object_path(ref.sha256).is_file()
            ]
            if missing:
                raise ReleaseError(f"release {release.name}: {missing[0]} was not added")
            place = self._releases / f"{release.id}.json"
            if not place.is_file():
                self.append_log(actor, "release.build", release.id, {"name": release.name})
                write_record(place, release)
        return release

    def set_alias(
        self,
        alias: Alias,
        release: Release | None,
        actor: str,
        action: str,
        held: Callable[[], object] = lambda: None,
    ) -> None:
        """Point an alias to a release; None removes it.

        A challenger that becomes champion is no longer challenger.

        Args:
            alias: The alias.
            release: The release; None removes the alias.
            actor: Name for the log.
            action: Name of the action in the log.
            held: Raises if the change is not allowed; called under the lock.
        """
        with self.writing():
            held()
            before = self.read_aliases()
            new = release.id if release else None
            detail: dict[str, Detail] = {"alias": alias, "before": getattr(before, alias)}
            self.append_log(actor, action, new or "none", detail)
            write_record(self._aliases, before.with_alias(alias, new))

    def previous_champion(self) -> Release:
        """Return the previous champion, for a rollback.

        Raises:
            ReleaseError: There is none.
        """
        now = self.read_aliases().champion
        stack: list[str] = []
        for line in self.read_log():
            if line.detail.get("alias") != "champion":
                continue
            if line.action == "release.rollback":
                stack = stack[:-1]
            else:
                stack.append(line.subject)
        if len(stack) < 2 or stack[-1] != now:
            raise ReleaseError(
                "there is no champion to roll back to", fix="promote a release by its name"
            )
        return self.find(stack[-2])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the registry; other writers wait.

        Raises:
            ReleaseError: The aliases contradict the log.
            StoreError: The log was changed.
        """
        with lock_folder(self.folder, wait=True):
            self._releases.mkdir(exist_ok=True)
            told, written = self.read_aliases(), self._read_alias_file()
            if told != (Aliases.model_validate_json(written) if written else Aliases()):
                write_record(self._aliases, told)  # completes an interrupted write
            yield

    def append_log(self, actor: str, action: str, subject: str, detail: dict[str, Detail]) -> None:
        """Append a line to the log; the caller holds the lock.

        The line is written before the action: a kill can leave an action that was logged but not
        done, never one that was done but not logged.
        """
        lines = self.read_log()
        last = (lines[-1].seq, lines[-1].hash) if lines else None
        line = make_next_line(last, self._now(), actor, action, subject, detail)
        whole = "".join(f"{one.model_dump_json()}\n" for one in (*lines, line))
        write_text(self._log, whole)

    def _read_release(self, path: Path) -> Release:
        try:
            release = Release.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise ReleaseError(f"{path} is missing", fix="restore it from a backup") from error
        except ValidationError as error:
            raise ReleaseError(
                f"{path} cannot be read: {_first_error(error)}",
                expected="a release that medtune built",
                fix="restore it from a backup",
            ) from error
        if release.id != path.stem:
            raise ReleaseError(
                f"{path} was changed: its content is {release.id[:SHORT_ID_LENGTH]}",
                expected="a release under the hash of its content",
                fix="restore it from a backup",
            )
        return release


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _find_symlinks(place: Path) -> list[Path]:
    """Return the symbolic links in a folder, including the folder itself."""
    return [path for path in (place, *place.rglob("*")) if path.is_symlink()]


def _first_error(error: ValidationError) -> str:
    """Return the first fault of a record in one sentence."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
