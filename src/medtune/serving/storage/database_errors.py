"""Translate database errors into medtune's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from medtune.core.errors import StoreError


class FaultMessage(NamedTuple):
    """A kind of fault: what was found, what was expected, how to fix it."""

    found: str
    expected: str
    fix: str

    def to_error(self, place: str, words: str = "") -> StoreError:
        """Build the error; `words` is the database's own message."""
        found = f"{place}: {self.found}" + (f" ({words})" if words else "")
        return StoreError(found, expected=self.expected, fix=self.fix)


_UNREACHABLE = FaultMessage(
    "there is no connection",
    "a running server that accepts medtune",
    "start the server; check the address, the name and the password",
)
_CROWDED = FaultMessage(
    "every connection is in use",
    "a free connection before the timeout",
    "try again; if that fails, allow the server more connections, or start fewer processes",
)
BUSY = FaultMessage(
    "another writer holds it for longer than the timeout",
    "a lock before the timeout",
    "try again; if that fails, end the process that locks it",
)
_FULL = FaultMessage(
    "the disk is full",
    "room for one more line",
    "free some space; committed data are safe, and no restart is needed",
)
_READ_ONLY = FaultMessage(
    "it can be read but not written",
    "a database that can be written",
    "fix the permissions of the file and its folder, or name the primary server",
)
_FORBIDDEN = FaultMessage(
    "the database forbids it",
    "a user that may make tables, read and write",
    "grant the user the schema, or open the database as another user",
)
_CANNOT_OPEN = FaultMessage(
    "the file cannot be opened",
    "a file in a folder that can be written",
    "check that the folder is there and may be written",
)
_DISK = FaultMessage(
    "the disk cannot be read or written",
    "a disk that works, with files as large as they need to be",
    "check the disk and `ulimit -f`; the system's log says more",
)
_DAMAGED = FaultMessage(
    "the database is damaged",
    "a database that is whole",
    "restore the latest backup, and keep the damaged files for analysis",
)
_NO_DATABASE = FaultMessage(
    "the file is not a database",
    "an SQLite file, or a file to be created",
    "name another file",
)
_REFUSED = FaultMessage("the database refuses it", "", "")

_SQLITE = {
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: _CANNOT_OPEN,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _NO_DATABASE,
}
"""By primary result code, https://sqlite.org/rescode.html."""

_POSTGRES = {
    "08": _UNREACHABLE,
    "28": _UNREACHABLE,
    "3D": _UNREACHABLE,
    "57P01": _UNREACHABLE,  # the server is shutting down
    "57P02": _UNREACHABLE,  # it crashed
    "57P03": _UNREACHABLE,  # it is starting up
    "53300": _CROWDED,
    "53100": _FULL,
    "25006": _READ_ONLY,
    "42501": _FORBIDDEN,
    "40": BUSY,  # a deadlock, or two writers of the same row
    "55P03": BUSY,
    "57014": BUSY,  # ended by a timeout
    "58": _DISK,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
"""By SQLSTATE or its class, https://www.postgresql.org/docs/current/errcodes-appendix.html."""


@contextmanager
def translate_errors(place: str) -> Iterator[None]:
    """Raise every database error as a StoreError about `place`.

    Raises:
        StoreError: For any error of the database or its driver.
    """
    try:
        yield
    except PoolTimeout as error:
        raise _CROWDED.to_error(place) from error
    except DBAPIError as error:
        raise _message_for(error).to_error(place, _driver_message(error)) from error


def is_busy(error: DBAPIError) -> bool:
    """Return whether an error means that another writer holds the lock."""
    return _message_for(error) is BUSY


def _message_for(error: DBAPIError) -> FaultMessage:
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code, the rest narrows it down.
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        return _SQLITE.get(code, _REFUSED)
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # An unreachable server gives no code; nor does text that it cannot store.
        return _UNREACHABLE if error.connection_invalidated or _is_disconnected(error) else _REFUSED
    return _POSTGRES.get(state) or _POSTGRES.get(state[:2], _REFUSED)


def _is_disconnected(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout")


def _driver_message(error: DBAPIError) -> str:
    """Return the first line of the driver's message: later lines may contain the row."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__
