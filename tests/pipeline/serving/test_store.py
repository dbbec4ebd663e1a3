"""The store on SQLite; `tests/real/test_postgres.py` asks the same of PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from tests.unit.serving import (
    audit_behaviour,
    claim_behaviour,
    decide_behaviour,
    request_behaviour,
    schema_behaviour,
)
from tests.unit.serving.store_cases import (
    CHILD,
    START,
    OnStore,
    begin_child,
    entry,
    execute,
    put,
)

from medtune.core.errors import StoreError
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "medtune.db"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty store: copied, it is there sooner than made."""
    path = tmp_path_factory.mktemp("empty") / "medtune.db"
    Store.open(f"sqlite:///{path}").close()
    return path.read_bytes()


@pytest.fixture
def store_url(path: Path, empty: bytes) -> str:
    path.write_bytes(empty)
    return f"sqlite:///{path}"


class OnNothing(OnStore):
    """Base of what begins without a file."""

    @pytest.fixture
    def store_url(self, path: Path) -> str:
        return f"sqlite:///{path}"


class TestClaim(claim_behaviour.ClaimBehaviour):
    pass


class TestDecide(decide_behaviour.DecideBehaviour):
    pass


class TestRequests(request_behaviour.RequestBehaviour):
    pass


class TestKeys(audit_behaviour.KeyBehaviour):
    pass


class TestAudit(audit_behaviour.AuditBehaviour):
    pass


class TestSchema(OnNothing, schema_behaviour.SchemaBehaviour):
    pass


class TestFile(OnNothing):
    """What is SQLite's own."""

    def test_folder_is_made(self, tmp_path: Path) -> None:
        Store.open(f"sqlite:///{tmp_path}/var/lib/medtune.db").close()
        assert (tmp_path / "var" / "lib" / "medtune.db").is_file()

    def test_settings(self, store: Store, path: Path) -> None:
        with store._database.reading() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in (
                    "journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete",
                )
            }  # fmt: skip
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 5000,
            "secure_delete": 1,
        }
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_readers_do_not_wait_for_a_writer(self, store: Store) -> None:
        store.requests.add(entry("a"), None)
        with store._database.writing():
            assert store.requests.find("a") == entry("a")

    def test_line_is_not_replaced(self, store: Store, path: Path) -> None:
        store.audit.append("ann", "x", "y")
        with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute(
                "INSERT OR REPLACE INTO audit SELECT 1, time, 'bob', action, subject, detail,"
                " before, hash FROM audit"
            )

    def test_what_is_purged_is_not_in_the_files(self, store: Store, path: Path) -> None:
        store.requests.add(entry("a", redacted="a haematocrit of forty"), None)
        put(store, "b", stem="a haematocrit of fifty")
        store.reviews.claim("ann", 60)
        store.reviews.decide("b", "ann", Decision(kind="reject", note="a haematocrit of sixty"))
        assert b"haematocrit" in b"".join(f.read_bytes() for f in path.parent.iterdir())
        store.requests.delete_before(START + timedelta(days=1))
        assert b"haematocrit" not in b"".join(f.read_bytes() for f in path.parent.iterdir())

    def test_purge_does_not_wait_for_a_reader(self, store: Store) -> None:
        put(store, "a", "b", "c")
        reading = store.requests.iter_period(START, START + timedelta(days=1))
        next(reading)
        begin = time.perf_counter()
        assert store.requests.delete_before(START + timedelta(days=1)) == 3
        assert time.perf_counter() - begin < 10
        assert [one.request_id for one in reading] == ["b", "c"]

    def test_closing_leaves_one_file(self, store: Store, path: Path) -> None:
        store.requests.add(entry("a"), None)
        store.close()
        assert [file.name for file in path.parent.iterdir()] == [path.name]


class TestFaults(OnNothing):
    """What is said when it does not work."""

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("medtune.db", "URL cannot be parsed"),
            ("postgresql://ann:secret@[::1/db", "URL cannot be parsed"),
            ("mysql://ann:secret@host/db", "does not support mysql"),
            ("sqlite+aiosqlite:///x.db", "does not support sqlite"),
            ("sqlite://", "names no file"),
            ("sqlite:///:memory:", "names no file"),
            ("sqlite:///file:x.db?mode=ro&uri=true", "names no file"),
            ("sqlite:////proc/nowhere/x.db", "cannot be created"),
            ("sqlite:////dev", "file cannot be opened"),
        ],
    )
    def test_address(self, url: str, found: str) -> None:
        with pytest.raises(StoreError, match=found) as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)
        assert caught.value.expected

    def test_server_that_is_not_there(self) -> None:
        url = "postgresql://ann:secret@127.0.0.1:1/medtune?password=secret"
        with pytest.raises(StoreError, match="there is no connection") as caught:
            Store.open(url, wait_s=0.5)
        assert "secret" not in str(caught.value)
        assert "start the server" in caught.value.fix

    def test_driver_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(StoreError, match="driver for PostgreSQL is not installed"):
            Store.open("postgresql://ann@host/medtune")

    def test_no_database(self, path: Path, store_url: str) -> None:
        path.write_text("These are minutes of a meeting, and no database at all.\n" * 100)
        with pytest.raises(StoreError, match="the file is not a database"):
            Store.open(store_url)

    def test_damaged(self, store: Store, path: Path, store_url: str) -> None:
        for number in range(50):
            store.requests.add(entry(f"r{number}", redacted="x" * 3000), None)
        store.close()
        with path.open("r+b") as file:
            for page in range(2, path.stat().st_size // 4096):
                file.seek(page * 4096)
                file.write(b"\x55" * 4096)
        with pytest.raises(StoreError, match="damaged"):
            Store.open(store_url).check_writable()

    def test_full_disk(self, store: Store) -> None:
        def shrink(connection: Any, _: object) -> None:
            # SQLite takes what there is as the least: the file cannot grow.
            connection.execute("PRAGMA max_page_count=1")

        store.close()
        event.listen(Pool, "connect", shrink)
        ids = [f"r{number:03}" for number in range(100)]
        try:
            with pytest.raises(StoreError, match="the disk is full") as caught:
                put(store, *ids, stem="x" * 3000)
        finally:
            event.remove(Pool, "connect", shrink)
        assert "free some space" in caught.value.fix
        kept = len(store.reviews.list_waiting(1000))
        assert (
            store.audit.verify_lines() == store.requests.count().by_status["pending_review"] == kept
        )
        store.close()  # the connections that were shrunk
        put(store, *ids[kept:])

    def test_file_that_may_not_grow(self, store_url: str) -> None:
        told = begin_child(store_url, "fill", str(400 * 1024)).communicate(timeout=60)[0]
        *acknowledged, error = told.splitlines()
        assert error.startswith("StoreError: ")
        assert "the disk cannot be read or written" in error
        store = Store.open(store_url)
        assert acknowledged
        kept = store.requests.iter_period(START, START + timedelta(days=36500))
        assert [one.request_id for one in kept] == acknowledged
        store.close()

    def test_read_only(self, store: Store, path: Path, store_url: str) -> None:
        store.close()
        path.chmod(0o444)
        told = subprocess.run(
            [*_without_privilege(), sys.executable, str(CHILD),
             store_url, "open"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert told.stdout.startswith(f"StoreError: {path}: it can be read but not written")

    def test_busy(self, store: Store, path: Path, store_url: str) -> None:
        hurried = Store.open(store_url, wait_s=0.1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="another writer holds it"):
                hurried.check_writable()
            with pytest.raises(StoreError, match="another writer holds it"):
                Store.open(store_url, wait_s=0.1)
            assert hurried.requests.find("a") is None
        hurried.check_writable()
        hurried.close()

    def test_line_in_one_process_is_not_waited_in_for_ever(self, store_url: str) -> None:
        hurried = Store.open(store_url, wait_s=0.1)
        told: list[str] = []

        def check() -> None:
            with pytest.raises(StoreError) as caught:
                hurried.check_writable()
            told.append(caught.value.found)

        with hurried._database.writing():
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()
        assert "another writer holds it" in told[0]
        hurried.check_writable()
        hurried.close()

    def test_connections_run_out(self, store_url: str) -> None:
        hurried = Store.open(store_url, wait_s=0.1)
        hurried.requests.add(entry("a"), None)
        readers: list[Iterator[Any]] = []
        for _ in range(20):
            readers.append(hurried.requests.iter_period(START, START + timedelta(days=1)))
            next(readers[-1])
        with pytest.raises(StoreError, match="every connection is in use"):
            hurried.requests.find("a")
        for reader in readers:
            assert list(reader) == []
        assert hurried.requests.find("a") is not None
        hurried.close()

    def test_text_is_not_in_the_error(self, store: Store) -> None:
        store.requests.add(entry("a"), None)
        with pytest.raises(StoreError) as caught:
            store.requests.add(entry("a", redacted="a haematocrit of forty"), None)
        error: BaseException | None = caught.value
        while error is not None:
            assert "haematocrit" not in str(error)
            error = error.__cause__

    def test_table_that_is_gone(self, store: Store, store_url: str) -> None:
        execute(store_url, "DROP TABLE probe")
        with pytest.raises(StoreError, match=r"the database refuses it \(no such table: probe\)"):
            store.check_writable()


def _without_privilege() -> list[str]:
    """Take from root what lets it write files that it may not write."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everything, and there is no setpriv")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
