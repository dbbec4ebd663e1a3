"""A connection pool with one interface for SQLite and PostgreSQL."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, OperationalError

from medtune.core.errors import StoreError
from medtune.serving.storage.database_errors import BUSY, is_busy, translate_errors

WAIT_TIMEOUT_S = 5.0
"""Longest wait for a lock, a connection or a server, in seconds."""
_EXPECTED = "sqlite:///medtune.db or postgresql+psycopg://user@host/database"
_POOL: dict[str, Any] = {"hide_parameters": True, "pool_size": 10, "max_overflow": 10}


class AdvisoryLock(IntEnum):
    """Keys of the locks that serialize writers (PostgreSQL advisory locks)."""

    SCHEMA = 0x6D656474756E6501
    AUDIT = 0x6D656474756E6502
    CLAIM = 0x6D656474756E6503


def acquire_lock(connection: Connection, lock: AdvisoryLock) -> None:
    """Hold a lock until the transaction ends; SQLite has a single writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(lock))))


class Database:
    """A pool of connections; threads may share it, processes may not.

    Args:
        url: Database URL.
        wait_s: Longest wait for a lock, a connection or a server, in seconds.

    Raises:
        StoreError: The URL cannot be used.
    """

    def __init__(self, url: str, wait_s: float = WAIT_TIMEOUT_S) -> None:
        address = _parse_url(url)
        self.place = _display_name(address)
        self._wait_s = wait_s
        self._write_lock = threading.Lock()
        self._engine = _ENGINES[address.get_backend_name()](address, wait_s)
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            self._reader = self._engine.execution_options(begin="BEGIN")
            self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        else:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
            self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")

    def prepare(self) -> None:
        """Create SQLite's file if it is missing, and enable the write-ahead log.

        Raises:
            StoreError: The file cannot be created or written.
        """
        if self._sqlite:
            _create_file(Path(self.place), self.place)
            self._enable_wal()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read transaction on one snapshot of the database.

        Raises:
            StoreError: It cannot be read.
        """
        with translate_errors(self.place), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a write transaction; on exit it is on disk, or rolled back.

        Raises:
            StoreError: It cannot be written.
        """
        lock = self._writer_lock() if self._sqlite else nullcontext()
        with lock, translate_errors(self.place), self._writer.begin() as connection:
            yield connection

    def truncate_wal(self) -> None:
        """Remove deleted data from SQLite's write-ahead log; PostgreSQL vacuums by itself.

        If an older snapshot is still being read, the data leaves the log with the next call or when
        it is overwritten: writers would have to wait for the reader otherwise.

        Raises:
            StoreError: The log cannot be written.
        """
        if self._sqlite:
            with (
                self._writer_lock(),
                translate_errors(self.place),
                self._engine.connect() as connection,
            ):
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.invalidate()  # the next one waits again

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _writer_lock(self) -> Iterator[None]:
        """Queue SQLite's writers of this process; those of other processes wait in SQLite.

        SQLite itself retries after a growing pause, which costs twenty threads half of their
        writes, and the unluckiest one a second.
        """
        if not self._write_lock.acquire(timeout=self._wait_s):
            raise BUSY.to_error(self.place)
        try:
            yield
        finally:
            self._write_lock.release()

    def _enable_wal(self) -> None:
        """Enable SQLite's write-ahead log, so that readers and a writer do not block each other.

        The mode is stored in the file. If two processes set it at once, SQLite rejects one of them
        without waiting, so this retries.
        """
        end = time.monotonic() + self._wait_s
        with translate_errors(self.place):
            while True:
                try:
                    with self._engine.connect() as connection:
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except OperationalError as error:
                    if not is_busy(error) or time.monotonic() > end:
                        raise
                    time.sleep(0.02)


def _parse_url(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL is not repeated: it may contain a password.
        raise StoreError("the database's URL cannot be parsed", expected=_EXPECTED) from error
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(f"medtune does not support {address.drivername}", expected=_EXPECTED)
    file = address.database or ""
    if address.get_backend_name() == "sqlite" and (file in ("", ":memory:") or "file:" in file):
        raise StoreError(
            "the URL names no file: the data would be lost when the process ends",
            expected="sqlite:///medtune.db, or sqlite:////var/lib/medtune/medtune.db",
        )
    return address


def _display_name(address: URL) -> str:
    """Return the database's name for messages, without a password."""
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return address.set(query={}).render_as_string(hide_password=True)


def _create_file(path: Path, place: str) -> None:
    """Create the file, readable by its owner only: it contains texts, though redacted ones."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
    except OSError as error:
        raise StoreError(
            f"{place}: the file cannot be created ({error.strerror})",
            expected="a file in a folder that can be written",
            fix="choose another place, or fix the folder's permissions",
        ) from error


def _create_sqlite_engine(address: URL, wait_s: float) -> Engine:
    engine = create_engine(address, **_POOL, pool_timeout=wait_s)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver leaves BEGIN to `_begin`
        for pragma in (
            f"busy_timeout={round(wait_s * 1000)}",
            "synchronous=FULL",  # committed data survives a loss of power
            "foreign_keys=ON",
            "secure_delete=ON",  # deleted data cannot be read from the file
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer locks at once: one that reads first would fail on its first write.
        statement = connection.get_execution_options().get("begin")
        if statement is not None:
            connection.exec_driver_sql(statement)

    return engine


def _create_postgres_engine(address: URL, wait_s: float) -> Engine:
    milliseconds = round(wait_s * 1000)
    settings: dict[str, str | int] = {
        "connect_timeout": max(2, math.ceil(wait_s)),  # libpq takes 1 for 2
        "tcp_user_timeout": milliseconds,  # for a server that vanished
        "options": f"-c lock_timeout={milliseconds}",
        "application_name": "medtune",
    }
    try:
        return create_engine(
            address,
            **_POOL,
            pool_timeout=wait_s,
            # Stale connections are detected after a restart of the server.
            pool_pre_ping=True,
            connect_args={k: v for k, v in settings.items() if k not in address.query},
        )
    except ImportError as error:
        raise StoreError(
            "the driver for PostgreSQL is not installed",
            expected="psycopg 3",
            fix="pip install 'medtune[postgres]', or keep to SQLite",
        ) from error


_ENGINES = {"sqlite": _create_sqlite_engine, "postgresql": _create_postgres_engine}
