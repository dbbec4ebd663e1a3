"""Attacks on the audit trail, made past the store, and what `audit-log verify` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert
from tests.conftest import CommandLine
from tests.unit.serving.store_cases import Clock, execute, let_audit_be_changed

from medtune.commands.audit_log import verify_audit_log
from medtune.core.errors import InputError, StoreError
from medtune.core.schemas import audit as chain
from medtune.serving.storage import audit_log
from medtune.serving.storage.audit_heads import HEADS_FILE, KEY_VARIABLE, Anchor
from medtune.serving.storage.store import Store
from medtune.serving.storage.tables import audit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of an endpoint with six lines in its trail."""
    store = opened(tmp_path)
    for number in range(6):
        store.audit.append("ann", "x", "y", n=number)
    store.close()
    return tmp_path


def opened(folder: Path) -> Store:
    return Store.open(url(folder), now=Clock(), anchor=Anchor.from_folder(folder))


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'medtune.db'}"


def attack(folder: Path, *statements: str) -> None:
    let_audit_be_changed(url(folder))
    execute(url(folder), *statements)


def reseal(folder: Path, lines: int, actor: str) -> None:
    """Write a trail of another actor that holds in itself."""
    store = Store.open(url(folder))
    old = store.audit.list_lines()[:lines]
    store.close()
    attack(folder, "DELETE FROM audit")
    last: tuple[int, str] | None = None
    store = Store.open(url(folder))
    with store._database.writing() as connection:
        for line in old:
            new = chain.make_next_line(
                last, line.time, actor, line.action, line.subject, line.detail
            )
            connection.execute(insert(audit).values(**new.model_dump()))
            last = (new.seq, new.hash)
    assert store.audit.verify_lines() == lines  # the chain alone shows nothing
    store.close()


def test_a_whole_trail_is_verified(folder: Path) -> None:
    found = verify_audit_log(folder, None, None, None)
    assert (found.head.lines, found.anchored, found.since) == (6, 6, 1)
    assert found.anchor == str(folder / HEADS_FILE)
    assert verify_audit_log(folder, None, None, str(found.head)).head == found.head


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE seq = 2", "line 2 was changed"),
        ("DELETE FROM audit WHERE seq = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE seq > 4", "line 5, noted in .*, is gone"),
        ("DELETE FROM audit", "line 1, noted in .*, is gone"),
    ],
)
def test_an_attack_is_found(folder: Path, statement: str, found: str) -> None:
    attack(folder, statement)
    with pytest.raises(StoreError, match=f"audit trail is broken: {found}"):
        verify_audit_log(folder, None, None, None)


@pytest.mark.parametrize("lines", [6, 3])
def test_a_trail_that_was_sealed_anew_is_found(folder: Path, lines: int) -> None:
    reseal(folder, lines, "bob")
    with pytest.raises(StoreError, match=r"line 1, noted in .*, was sealed anew"):
        verify_audit_log(folder, None, None, None)


def test_a_cut_that_has_grown_over_is_found(folder: Path) -> None:
    attack(folder, "DELETE FROM audit WHERE seq > 2")
    store = opened(folder)
    for _ in range(9):
        store.audit.append("bob", "x", "y")
    assert store.audit.verify_lines() == 11
    store.close()
    with pytest.raises(StoreError, match=r"line 3, noted in .*, was sealed anew"):
        verify_audit_log(folder, None, None, None)


def test_an_anchor_that_is_gone_is_told_and_begun_anew_in_the_open(folder: Path) -> None:
    head = verify_audit_log(folder, None, None, None).head
    (folder / HEADS_FILE).unlink()
    attack(folder, "DELETE FROM audit WHERE seq > 4")
    with pytest.raises(StoreError, match="no head of the audit trail is noted"):
        verify_audit_log(folder, None, None, None)
    store = opened(folder)
    last = store.audit.list_lines()[-1]
    assert (last.action, last.detail) == ("audit.anchor", {"lines": 4})
    store.close()
    assert verify_audit_log(folder, None, None, None).since == 5
    with pytest.raises(StoreError, match=r"line 6, noted in --head, is gone"):
        verify_audit_log(folder, None, None, str(head))  # somebody had noted it


def test_signed_heads_cannot_be_written_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    store = opened(tmp_path)
    for _ in range(3):
        store.audit.append("ann", "x", "y")
    store.close()
    assert verify_audit_log(tmp_path, None, None, None).anchored == 3
    reseal(tmp_path, 3, "bob")
    forged = Store.open(url(tmp_path))
    monkeypatch.delenv(KEY_VARIABLE)
    (tmp_path / HEADS_FILE).unlink()
    for line in forged.audit.list_lines():
        Anchor.from_folder(tmp_path).append_head(chain.parse_head(f"{line.seq}:{line.hash}"))
    forged.close()
    assert verify_audit_log(tmp_path, None, None, None).anchored == 3  # both places were written to
    for key in ("k" * 32, "l" * 32):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(StoreError, match="is not signed with this key"):
            verify_audit_log(tmp_path, None, None, None)
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(InputError, match="has 5 characters"):
        verify_audit_log(tmp_path, None, None, None)


def test_a_head_that_cannot_be_noted_shows_in_the_readiness_and_is_caught_up(
    folder: Path,
) -> None:
    store = opened(folder)
    (folder / HEADS_FILE).rename(folder / "away")
    (folder / HEADS_FILE).mkdir()
    store.audit.append("ann", "x", "y")  # what was done stands
    with pytest.raises(StoreError, match="cannot be noted"):
        store.check_writable()
    (folder / HEADS_FILE).rmdir()
    (folder / "away").rename(folder / HEADS_FILE)
    store.check_writable()
    store.close()
    assert verify_audit_log(folder, None, None, None).anchored == 7


def test_what_is_rolled_back_is_not_noted(folder: Path) -> None:
    store = opened(folder)

    def fail() -> None:
        with store._transactions.writing() as connection:
            audit_log.append_audit_line(connection, Clock().now, "ann", "x", "y")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    store.audit.append("ann", "x", "z")
    store.close()
    assert verify_audit_log(folder, None, None, None).anchored == 7


def test_the_commands_print_the_head(folder: Path, medtune: CommandLine) -> None:
    head = str(verify_audit_log(folder, None, None, None).head)
    code, out, err = medtune("audit-log", "verify", "--data", str(folder))
    assert code == 0, err
    assert head in out
    assert "6 lines" in out
    code, out, _ = medtune("keys", "list", "--data", str(folder))
    assert head in out
    attack(folder, "DELETE FROM audit WHERE seq = 6")
    code, _, err = medtune("audit-log", "verify", "--data", str(folder))
    assert code != 0
    assert "line 6" in err
    code, _, err = medtune("audit-log", "verify", "--data", str(folder), "--head", "x")
    assert code == 2
    assert "no head of an audit trail" in err
