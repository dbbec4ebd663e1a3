"""A database that is open: SQLite in a file, or PostgreSQL, from here on alike."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, OperationalError

from medtune.core.errors import StoreError
from medtune.serving.storage.database_errors import BUSY, is_busy, translated

WAIT_S = 5.0
"""How long to wait for a lock, a connection or a server."""
_EXPECTED = "sqlite:///medtune.db or postgresql+psycopg://user@host/database"
_POOL = 10


class AdvisoryLock(IntEnum):
    """What writers do one after another: keys of PostgreSQL's advisory locks."""

    SCHEMA = 0x6D656474756E6501
    AUDIT = 0x6D656474756E6502
    CLAIM = 0x6D656474756E6503


def take_turn(connection: Connection, turn: AdvisoryLock) -> None:
    """Wait for a turn and hold it until the transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(turn))))


class Database:
    """A pool of connections; threads may share it, processes may not.

    Args:
        url: Its address.
        wait_s: How long to wait for a lock, a connection or a server, in seconds.

    Raises:
        StoreError: The address cannot be used.
    """

    def __init__(self, url: str, wait_s: float = WAIT_S) -> None:
        address = _parsed(url)
        self.place = _place(address)
        self._wait_s = wait_s
        self._line = threading.Lock()
        self._engine = _ENGINES[address.get_backend_name()](address, wait_s)
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            self._reader = self._engine.execution_options(begin="BEGIN")
            self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        else:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
            self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")

    def prepare(self) -> None:
        """Make SQLite's file where there is none, and have it write ahead to a log.

        Raises:
            StoreError: The file cannot be made or written.
        """
        if self._sqlite:
            _make_file(Path(self.place), self.place)
            self._use_log()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look at one state of the database, whatever others write meanwhile.

        Raises:
            StoreError: It cannot be read.
        """
        with translated(self.place), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write all of it or nothing; once this ends, it is on the disk.

        Raises:
            StoreError: It cannot be written.
        """
        turn = self._turn() if self._sqlite else nullcontext()
        with turn, translated(self.place), self._writer.begin() as connection:
            yield connection

    def erase(self) -> None:
        """Have what was deleted leave SQLite's log, too; PostgreSQL vacuums by itself.

        Where somebody still reads an older state, it leaves with the next call, or as the log is
        written over: writers would have to wait for the reader otherwise.

        Raises:
            StoreError: The log cannot be written.
        """
        if self._sqlite:
            with self._turn(), translated(self.place), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.invalidate()  # the next one waits again

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let SQLite's writers in this process line up; those of other processes it makes wait.

        Left to itself it has everybody try again after a pause that grows, which costs twenty
        threads half of their writes, and the unluckiest a second.
        """
        if not self._line.acquire(timeout=self._wait_s):
            raise BUSY.about(self.place)
        try:
            yield
        finally:
            self._line.release()

    def _use_log(self) -> None:
        """Have SQLite write ahead to a log, so that readers and a writer do not wait.

        The mode stays with the file.  Of two processes that set it at once, SQLite turns one away
        without letting it wait: so this waits.
        """
        end = time.monotonic() + self._wait_s
        with translated(self.place):
            while True:
                try:
                    with self._engine.connect() as connection:
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except OperationalError as error:
                    if not is_busy(error) or time.monotonic() > end:
                        raise
                    time.sleep(0.02)


def _parsed(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The address is not repeated: there may be a password in it.
        raise StoreError("the database's address cannot be read", expected=_EXPECTED) from error
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(f"medtune keeps nothing in {address.drivername}", expected=_EXPECTED)
    file = address.database or ""
    if address.get_backend_name() == "sqlite" and (file in ("", ":memory:") or "file:" in file):
        raise StoreError(
            "the address names no file: what is kept would be gone with the process",
            expected="sqlite:///medtune.db, or sqlite:////var/lib/medtune/medtune.db",
        )
    return address


def _place(address: URL) -> str:
    """Name the database in messages, without a password."""
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return address.set(query={}).render_as_string(hide_password=True)


def _make_file(path: Path, place: str) -> None:
    """Make the file readable to its owner only: there are texts in it, though redacted ones."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
    except OSError as error:
        raise StoreError(
            f"{place}: the file cannot be made ({error.strerror})",
            expected="a file in a folder that can be written",
            fix="choose another place, or mend the folder's permissions",
        ) from error


def _sqlite(address: URL, wait_s: float) -> Engine:
    engine = create_engine(
        address, hide_parameters=True, pool_size=_POOL, max_overflow=_POOL, pool_timeout=wait_s
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver leaves BEGIN to `_begin`
        for pragma in (
            f"busy_timeout={round(wait_s * 1000)}",
            "synchronous=FULL",  # what is acknowledged survives a loss of power
            "foreign_keys=ON",
            "secure_delete=ON",  # what retention deletes cannot be read from the file
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its turn at once: one that read first would be turned away later.
        statement = connection.get_execution_options().get("begin")
        if statement is not None:
            connection.exec_driver_sql(statement)

    return engine


def _postgres(address: URL, wait_s: float) -> Engine:
    milliseconds = round(wait_s * 1000)
    settings: dict[str, str | int] = {
        "connect_timeout": max(2, math.ceil(wait_s)),  # libpq takes 1 for 2
        "tcp_user_timeout": milliseconds,  # a server that is gone without a word
        "options": f"-c lock_timeout={milliseconds}",
        "application_name": "medtune",
    }
    try:
        return create_engine(
            address,
            hide_parameters=True,
            pool_size=_POOL,
            max_overflow=_POOL,
            pool_timeout=wait_s,
            # After a restart of the server, old connections are found out before they are used.
            pool_pre_ping=True,
            connect_args={k: v for k, v in settings.items() if k not in address.query},
        )
    except ImportError as error:
        raise StoreError(
            "the driver for PostgreSQL is not installed",
            expected="psycopg 3",
            fix="pip install 'medtune[postgres]', or keep to SQLite",
        ) from error


_ENGINES = {"sqlite": _sqlite, "postgresql": _postgres}
