"""The registry on disk: objects by their hash, releases by theirs, aliases, and a log.

    objects/ab/cdef...    files, each under the sha256 of its bytes
    releases/ID.json      a release; whoever sees it finds all its objects
    aliases.json          which release is champion, which challenger
    log.jsonl             what was done, a chain
    suite.json, evidence/, gates/    what releases have to show, and what the gate said: `proofs`
    trees/ID/             a release's files under their names, made when it is served

Nothing is changed or deleted.  Everything is written beside its place, flushed, and renamed: what
a kill leaves behind is an object that no release names, or a file that is not looked at.  Writers
wait for each other; readers wait for nobody.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from medtune.core.chain import Detail, checked, following
from medtune.core.errors import InputError, ReleaseError
from medtune.core.folder import (
    locked,
    replacing,
    sha256_of,
    write_record,
    write_text,
)
from medtune.core.records import Record
from medtune.core.release import ALIASES, Alias, Release, ReleaseRow, Verification
from medtune.core.served import AuditLine
from medtune.registry.objects import Objects

AT_ONCE = 1 << 29
"""Bytes that are read in half a second."""
SHORT = 12
"""Digits of an id that are shown."""


class Aliases(Record):
    """What the aliases stand for."""

    champion: str | None = None
    challenger: str | None = None


class Registry:
    """A registry in a folder.

    Args:
        folder: Where it is, or will be.
        now: Tells the time.
    """

    def __init__(
        self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder = folder
        self._now = now
        self.objects = Objects(folder / "objects")
        self._releases, self._log = folder / "releases", folder / "log.jsonl"

    # Reading

    def rows(self) -> list[ReleaseRow]:
        """List all releases, the oldest first.

        Raises:
            ReleaseError: One cannot be read.
        """
        aliases = self.aliases()
        found = [self._read(path) for path in self._releases.glob("*.json")]
        return [
            ReleaseRow(
                id=one.id,
                name=one.name,
                created=one.created,
                base=one.base,
                scheme=one.scheme,
                aliases=tuple(a for a in ALIASES if getattr(aliases, a) == one.id),
            )
            for one in sorted(found, key=lambda one: (one.created, one.id))
        ]

    def find(self, name: str) -> Release:
        """Find a release by alias, name, id, or the beginning of its id.

        Raises:
            ReleaseError: There is none, or there are several.
        """
        if name in ALIASES:
            found = getattr(self.aliases(), name)
            if found is None:
                raise ReleaseError(f"{self.folder} has no {name}", fix="medtune release promote")
            return self._read(self._releases / f"{found}.json")
        paths = list(self._releases.glob("*.json"))
        wanted = [p for p in paths if len(name) >= 6 and p.stem.startswith(name)]
        read = [self._read(path) for path in wanted or paths]
        found = read if wanted else [one for one in read if one.name == name]
        if len(found) != 1:
            what = f"{len(found)} releases are called" if found else "no release is called"
            raise ReleaseError(f"{self.folder}: {what} {name}", fix="medtune release list")
        return found[0]

    def aliases(self) -> Aliases:
        """Read what the aliases stand for.

        Raises:
            ReleaseError: The file is damaged.
        """
        path = self.folder / "aliases.json"
        try:
            return Aliases.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Aliases()
        except ValidationError as error:
            raise ReleaseError(f"{path} cannot be read", fix="restore it from log.jsonl") from error

    def log(self) -> Iterator[AuditLine]:
        """Read what was done, in order; a line that was cut short by a kill is left out."""
        if not self._log.is_file():
            return
        for line in self._log.read_bytes().split(b"\n")[:-1]:
            yield AuditLine.model_validate_json(line)

    def verify(self, release: Release) -> Verification:
        """Read every byte of a release again, and the log."""
        start, faults, size = time.perf_counter(), [], 0
        for name, ref in release.files.items():
            if fault := self.objects.fault(ref):
                faults.append(f"{name}: {fault}")
            else:
                size += ref.size_bytes
        checked(self.log(), str(self._log))
        return Verification(
            id=release.id,
            name=release.name,
            files=len(release.files),
            size_bytes=size,
            duration_s=time.perf_counter() - start,
            faults=tuple(faults),
        )

    def tree(self, release: Release) -> Path:
        """Lay a release's files out under their names; each is hashed on the way.

        What lies there and is not what was released is laid out anew.

        Raises:
            ReleaseError: A file is missing or changed: nothing is laid out.
            FolderError: The folder cannot be written.
        """
        place = self.folder / "trees" / release.id
        found = self.verify(release)
        if found.faults:
            raise ReleaseError(
                f"release {release.name} is damaged: {found.faults[0]}",
                expected="the bytes that were released",
                fix="restore the object from a backup, or roll back",
            )
        if not self._is_laid_out(place, release):
            with replacing(place) as staging:
                for name, ref in release.files.items():
                    target = staging / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _linked(self.objects.place(ref.sha256), target)
        return place

    def prepared(self, release: Release) -> Path:
        """Lay a release's files out as `tree` does; of gigabytes that lie there, read nothing.

        An alias has to move at once, and whoever loads the files reads every byte of them.

        Raises:
            ReleaseError: A file is missing or changed: nothing is laid out.
            FolderError: The folder cannot be written.
        """
        place = self.folder / "trees" / release.id
        sizes = {name: ref.size_bytes for name, ref in release.files.items()}
        found = {
            path.relative_to(place).as_posix(): path.stat().st_size
            for path in place.rglob("*")
            if path.is_file()
        }
        return place if found == sizes and sum(sizes.values()) > AT_ONCE else self.tree(release)

    def _is_laid_out(self, place: Path, release: Release) -> bool:
        """Tell whether a folder holds a release's files: its objects themselves, or equal bytes."""
        there = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
        return there == set(release.files) and all(
            (place / name).samefile(self.objects.place(ref.sha256))
            or sha256_of(place / name) == ref.sha256
            for name, ref in release.files.items()
        )

    # Writing

    def add(self, release: Release, actor: str) -> Release:
        """Add a release whose objects are there.

        Raises:
            InputError: Another release has its name.
            ReleaseError: An object is missing.
        """
        with self.writing():
            if any(row.name == release.name and row.id != release.id for row in self.rows()):
                raise InputError(
                    f"a release {release.name} is there already",
                    expected="a name of its own: releases are never changed",
                    fix="choose another with --name",
                )
            missing = [
                name
                for name, ref in release.files.items()
                if not self.objects.place(ref.sha256).is_file()
            ]
            if missing:
                raise ReleaseError(f"release {release.name}: {missing[0]} was not added")
            place = self._releases / f"{release.id}.json"
            if not place.is_file():
                self.append(actor, "release.build", release.id, {"name": release.name})
                write_record(place, release)
        return release

    def point(
        self, alias: Alias, release: Release | None, actor: str, action: str, **detail: Detail
    ) -> None:
        """Let an alias stand for a release; None takes it away.

        A challenger that becomes champion is no challenger any more.
        """
        with self.writing():
            before = self.aliases()
            new = release.id if release else None
            update: dict[str, str | None] = {alias: new}
            if alias == "champion" and before.challenger == new:
                update["challenger"] = None
            old = getattr(before, alias)
            self.append(actor, action, new or "none", {**detail, "alias": alias, "before": old})
            write_record(self.folder / "aliases.json", before.model_copy(update=update))

    def former(self) -> Release:
        """Find the champion before the present one, to roll back to.

        Raises:
            ReleaseError: There was none.
        """
        now = self.aliases().champion
        stack: list[str] = []
        for line in self.log():
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
        """Hold the registry; other writers wait."""
        with locked(self.folder, wait=True):
            self._releases.mkdir(exist_ok=True)
            yield

    def append(self, actor: str, action: str, subject: str, detail: dict[str, Detail]) -> None:
        """Add a line to the log; whoever does it holds the registry.

        The line comes first: what a kill leaves behind is a deed that was announced, never one
        that nobody heard of.
        """
        lines = list(self.log())
        last = (lines[-1].seq, lines[-1].hash) if lines else None
        line = following(last, self._now(), actor, action, subject, detail)
        whole = "".join(f"{one.model_dump_json()}\n" for one in (*lines, line))
        write_text(self._log, whole)

    def _read(self, path: Path) -> Release:
        try:
            release = Release.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise ReleaseError(f"{path} is missing", fix="restore it from a backup") from error
        except ValidationError as error:
            raise ReleaseError(f"{path} cannot be read: {error.errors()[0]['msg']}") from error
        if release.id != path.stem:
            raise ReleaseError(
                f"{path} was changed: its content is {release.id[:SHORT]}",
                expected="a release under the hash of its content",
                fix="restore it from a backup",
            )
        return release


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
