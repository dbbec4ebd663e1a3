"""A PostgreSQL server of the tests' own, started in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine


class Server:
    """A server of its own in a folder, reached by a socket there.

    Args:
        programs: Where `initdb` and `pg_ctl` are.
        folder: Empty.
        user: Who runs it; None is whoever runs the tests.
    """

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self._programs, self._folder = programs, folder
        self._prefix = ["runuser", "-u", user, "--"] if user else []
        self._names = count()
        folder.chmod(0o755)
        if user:
            shutil.chown(folder, user)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.start()

    def start(self) -> None:
        """Start it, far from Greenwich, so that times are told apart from UTC."""
        options = (
            f"-k {self._folder} -c listen_addresses= -c fsync=off -c timezone=Asia/Kathmandu"
            " -c max_connections=60"
        )
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def url(self, database: str, user: str = "postgres") -> str:
        """Tell the address of a database."""
        return f"postgresql+psycopg://{user}@/{database}?host={self._folder}"

    def fresh(self) -> str:
        """Make a database; return its address."""
        name = f"medtune_{next(self._names)}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} STRATEGY wal_log")
        engine.dispose()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._prefix, str(self._programs / program), "-D", str(self._folder / "data"),
             *arguments],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, cwd="/",
        )  # fmt: skip


def _programs() -> Path:
    """Find PostgreSQL's programs; of several versions the newest."""
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists():
            return place
    pytest.skip("PostgreSQL is not installed: neither on PATH nor in /usr/lib/postgresql")


def _user() -> str | None:
    """Choose who runs the server: it refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    if shutil.which("runuser") is None:
        pytest.skip("PostgreSQL is not run by root, and there is no runuser")
    known = subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0
    return "postgres" if known else "nobody"


@contextmanager
def start_server() -> Iterator[Server]:
    """Start a server, or skip the test where PostgreSQL is not installed."""
    programs, user = _programs(), _user()
    # Not pytest's folder, which is closed to others; and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="medtune-pg-") as folder:
        server = Server(programs, Path(folder), user)
        yield server
        with suppress(subprocess.CalledProcessError):
            server.stop("immediate")
