"""The registry on disk: objects by their hash, releases by theirs, aliases, and a log.

    objects/ab/cdef...    files, each under the sha256 of its bytes
    releases/ID.json      a release; whoever sees it finds all its objects
    aliases.json          which release is champion, which challenger
    log.jsonl             what was done, a chain
    suite.json            the frozen questions: `proofs`
    trees/ID/             a release's files under their names, made when it is served

Nothing is changed or deleted.  The log has the last word: aliases that say something else are
refused, and evidence and verdicts are objects that it names.  Everything is written beside its
place, flushed, and renamed: what a kill leaves behind is an object that no release names, or a file
that is not looked at.  Writers wait for each other; readers wait for nobody.
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
    locked,
    replacing,
    sha256_of,
    write_record,
    write_text,
)
from medtune.core.schemas.audit import AuditLine, Detail, checked, following
from medtune.releases.object_store import ObjectStore, below
from medtune.releases.schema import (
    ALIASES,
    Alias,
    Release,
    ReleaseRow,
    Verification,
    check_name,
    inside,
)

AT_ONCE = 1 << 29
"""Bytes that are read in half a second."""
SHORT = 12
"""Digits of an id that are shown."""


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Aliases(Record):
    """What the aliases stand for."""

    champion: Id | None = None
    challenger: Id | None = None

    def moved(self, alias: str, to: str | None) -> Aliases:
        """Let an alias stand for another release.

        A challenger that becomes champion is no challenger any more.
        """
        update = {alias: to}
        if alias == "champion" and self.challenger == to:
            update["challenger"] = None
        return self.model_copy(update=update)


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
        self.objects = ObjectStore(folder / "objects")
        self._releases, self._log = folder / "releases", folder / "log.jsonl"
        self._aliases = folder / "aliases.json"
        self._lines: tuple[tuple[int, int, int], tuple[AuditLine, ...]] | None = None

    # Reading

    def rows(self) -> list[ReleaseRow]:
        """List all releases, the oldest first.

        Raises:
            ReleaseError: One cannot be read.
        """
        aliases = self.aliases()
        return [
            ReleaseRow(
                id=one.id,
                name=one.name,
                created=one.created,
                base=one.base,
                scheme=one.scheme,
                aliases=tuple(a for a in ALIASES if getattr(aliases, a) == one.id),
            )
            for one in self.releases()
        ]

    def releases(self) -> list[Release]:
        """Read all releases, the oldest first.

        Raises:
            ReleaseError: One cannot be read.
        """
        found = [self._read(path) for path in self._releases.glob("*.json")]
        return sorted(found, key=lambda one: (one.created, one.id))

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
        """Read what the aliases stand for, and hold it against the log.

        A missing file is no fault: the log says what stood in it.  Neither is one that a kill left
        behind the log's last line: what was announced counts as done.

        Raises:
            ReleaseError: The file says something else than the log, or is damaged.
            StoreError: The log was changed.
        """
        while True:
            written = self._written()
            told, before = self._told()
            try:
                found = Aliases.model_validate_json(written) if written is not None else told
            except ValidationError as error:
                raise self._not_told("cannot be read") from error
            if found in (told, before):
                return told
            if written == self._written():  # nobody moved them between two looks
                wrong = next(a for a in ALIASES if getattr(found, a) != getattr(told, a))
                one, other = (str(getattr(x, wrong))[:SHORT] for x in (found, told))
                raise self._not_told(f"says that {wrong} is {one}, where the log says {other}")

    def _written(self) -> bytes | None:
        try:
            return self._aliases.read_bytes()
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise ReleaseError(
                f"{self.folder} is no folder", expected="the folder of a registry"
            ) from error

    def _told(self) -> tuple[Aliases, Aliases]:
        """Read in the log what the aliases stand for, and stood for before its last line."""
        told, before = Aliases(), Aliases()
        for line in self.log():
            before, alias = told, line.detail.get("alias")
            if alias in ALIASES:
                told = told.moved(str(alias), None if line.subject == "none" else line.subject)
        return told, before

    def _not_told(self, fault: str) -> ReleaseError:
        return ReleaseError(
            f"{self._aliases} {fault}",
            expected=f"what {self._log.name} says: aliases are moved by commands",
            fix=f"delete {self._aliases}: the log has what stood in it",
        )

    def log(self) -> tuple[AuditLine, ...]:
        """Read what was done, in order; a line that was cut short by a kill is left out.

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
            checked(lines, str(self._log))
            self._lines = state, tuple(again)
        return self._lines[1]

    def verify(self, release: Release) -> Verification:
        """Read every byte of a release again; look at its laid-out tree, the aliases and the log.

        Raises:
            StoreError: The log was changed.
        """
        start = time.perf_counter()
        faults = list(self._damage(release))
        tree = self.folder / "trees" / release.id
        faults += [f"{link} is a symbolic link: delete {tree}" for link in _links(tree)]
        try:
            self.aliases()
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

    def _damage(self, release: Release) -> Iterator[str]:
        for name, ref in release.files.items():
            if fault := self.objects.fault(ref):
                yield f"{name}: {fault}"

    def tree(self, release: Release) -> Path:
        """Lay a release's files out under their names; each is hashed on the way.

        What lies there and is not what was released is laid out anew.

        Raises:
            ReleaseError: A file is missing or changed: nothing is laid out.
            FolderError: The folder cannot be written.
        """
        place = self.folder / "trees" / release.id
        if fault := next(self._damage(release), None):
            raise ReleaseError(
                f"release {release.name} is damaged: {fault}",
                expected="the bytes that were released",
                fix="restore the object from a backup, or roll back",
            )
        if not self._is_laid_out(place, release):
            if place.is_symlink():
                place.unlink()
            with replacing(place) as staging:
                for name, ref in release.files.items():
                    target = inside(staging, name)
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
        found = {name: path.lstat().st_size for name, path in below(place)}
        is_there = found == sizes and not _links(place)
        return place if is_there and sum(sizes.values()) > AT_ONCE else self.tree(release)

    def _is_laid_out(self, place: Path, release: Release) -> bool:
        """Tell whether a folder holds a release's files: its objects themselves, or equal bytes."""
        there = {name for name, _ in below(place)}
        return (
            there == set(release.files)
            and not _links(place)
            and all(
                (place / name).samefile(self.objects.place(ref.sha256))
                or sha256_of(place / name) == ref.sha256
                for name, ref in release.files.items()
            )
        )

    # Writing

    def add(self, release: Release, actor: str) -> Release:
        """Add a release whose objects are there.

        Raises:
            InputError: Another release has its name, or it is none.
            ReleaseError: An object is missing.
        """
        check_name(release.name)
        with self.writing():
            if any(row.name == release.name and row.id != release.id for row in self.rows()):
                raise InputError(
                    f"a release {release.name} is there already",
                    expected="a name of its own: releases are never changed",
                    fix="choose another name",
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
        self,
        alias: Alias,
        release: Release | None,
        actor: str,
        action: str,
        held: Callable[[], object] = lambda: None,
    ) -> None:
        """Let an alias stand for a release; None takes it away.

        A challenger that becomes champion is no challenger any more.

        Args:
            alias: Which.
            release: For what.
            actor: Who does it.
            action: What the log calls it.
            held: Raises where it may not; called while nobody else can write.
        """
        with self.writing():
            held()
            before = self.aliases()
            new = release.id if release else None
            detail: dict[str, Detail] = {"alias": alias, "before": getattr(before, alias)}
            self.append(actor, action, new or "none", detail)
            write_record(self._aliases, before.moved(alias, new))

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
        """Hold the registry; other writers wait.

        Raises:
            ReleaseError: The aliases say something else than the log.
            StoreError: The log was changed.
        """
        with locked(self.folder, wait=True):
            self._releases.mkdir(exist_ok=True)
            told, written = self.aliases(), self._written()
            if told != (Aliases.model_validate_json(written) if written else Aliases()):
                write_record(self._aliases, told)  # what a kill left undone
            yield

    def append(self, actor: str, action: str, subject: str, detail: dict[str, Detail]) -> None:
        """Add a line to the log; whoever does it holds the registry.

        The line comes first: what a kill leaves behind is a deed that was announced, never one
        that nobody heard of.
        """
        lines = self.log()
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
            raise ReleaseError(
                f"{path} cannot be read: {_said(error)}",
                expected="a release that medtune built",
                fix="restore it from a backup",
            ) from error
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


def _links(place: Path) -> list[Path]:
    """Find the symbolic links in a folder, the folder itself included."""
    return [path for path in (place, *place.rglob("*")) if path.is_symlink()]


def _said(error: ValidationError) -> str:
    """Say in one sentence what is wrong with a record."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
