"""How keys and the audit trail are kept, on any database."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from tests.unit.serving.store_cases import (
    START,
    Clock,
    OnStore,
    entry,
    execute,
    item,
    let_audit_be_changed,
    put,
)

from medtune.core.errors import ConflictError, InputError, StoreError
from medtune.core.schemas import audit as chain
from medtune.core.schemas.audit import AuditLine
from medtune.serving.schemas import Decision, Role
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store

YES = Decision(kind="approve")


class KeyBehaviour(OnStore):
    """Keys."""

    def test_key_is_found_by_its_text_only(self, store: Store) -> None:
        key, secret = store.keys.add("ward-7", "review", 30)
        assert secret.startswith("mt_")
        assert len(secret) == 46
        assert store.keys.find(secret) == key
        digest = hashlib.sha256(secret.encode()).hexdigest()
        for wrong in ("", "mt_", secret[:-1], secret + "\0", secret.lower(), digest, "ward-7", "é"):
            assert store.keys.find(wrong) is None
        assert store.keys.add("ward-8", "ask", 1)[1] != secret

    @pytest.mark.parametrize("name", ["local", "operator", "endpoint"])
    def test_key_is_named_like_nobody_else(self, store: Store, name: str) -> None:
        with pytest.raises(InputError, match="is reserved"):
            store.keys.add(name, "ask", 1)

    def test_revoked_key_opens_nothing(self, store: Store, clock: Clock) -> None:
        old, secret = store.keys.add("ward-7", "ask", 30)
        clock.forward(1)
        new, _ = store.keys.add("a", "admin", 60)
        clock.forward(1)
        store.keys.revoke("ward-7", actor="chief")
        store.keys.revoke("ward-7")
        assert store.keys.find(secret) is None
        revoked = old.model_copy(update={"revoked": START + timedelta(seconds=2)})
        assert store.keys.list_all() == [revoked, new]
        assert [(x.actor, x.action, x.subject, x.detail) for x in store.audit.list_lines()] == [
            ("operator", "key.add", "ward-7", {"role": "ask", "per_minute": 30}),
            ("operator", "key.add", "a", {"role": "admin", "per_minute": 60}),
            ("chief", "key.revoke", "ward-7", {}),
        ]

    def test_name_is_used_once(self, store: Store) -> None:
        store.keys.add("a", "ask", 1)
        store.keys.revoke("a")
        with pytest.raises(InputError, match="the name a was used before"):
            store.keys.add("a", "admin", 1)
        with pytest.raises(InputError, match="no key is named b"):
            store.keys.revoke("b")

    @pytest.mark.parametrize(
        ("name", "role", "per_minute"),
        [("", "ask", 1), ("a b", "ask", 1), ("a" * 65, "ask", 1), ("a", "ask", 0)],
    )
    def test_what_is_no_key(self, store: Store, name: str, role: Role, per_minute: int) -> None:
        with pytest.raises(InputError, match="no key"):
            store.keys.add(name, role, per_minute)
        assert store.keys.list_all() == []
        assert store.audit.verify_lines() == 0

    def test_text_is_not_kept(self, store: Store, store_url: str) -> None:
        _, secret = store.keys.add("a", "ask", 1)
        kept = (
            store.audit.list_lines()[0].model_dump_json()
            + store.keys.list_all()[0].model_dump_json()
        )
        assert secret[3:] not in kept


class AuditBehaviour(OnStore):
    """Lines that seal each other."""

    def test_every_change_leaves_a_line(self, store: Store, clock: Clock) -> None:
        put(store, "a")
        store.reviews.request_second_opinion("a", "chief")
        store.reviews.claim("ann", 60)
        store.reviews.release("a", "ann")
        store.reviews.claim("ann", 60)
        note = "the patient is named in the second line"
        store.reviews.decide("a", "ann", Decision(kind="edit", chosen=1, note=note))
        lines = store.audit.list_lines()
        assert [(line.seq, line.actor, line.action) for line in lines] == [
            (1, "endpoint", "review.wait"),
            (2, "chief", "review.second"),
            (3, "ann", "review.claim"),
            (4, "ann", "review.release"),
            (5, "ann", "review.claim"),
            (6, "ann", "review.decide"),
        ]
        assert {line.subject for line in lines} == {"a"}
        assert lines[-1].detail == {"kind": "edit", "chosen": 1, "number": 1, "state": "waiting"}
        assert store.audit.verify_lines() == 6
        assert "patient" not in "".join(line.model_dump_json() for line in lines)

    def test_lines_seal_each_other(self, store: Store) -> None:
        first = store.audit.append(
            "ci", "release.promote", "r-2", gate=True, margin=0.01, was=None, n=1
        )
        second = store.audit.append(
            "ä\0", "release.rollback", "r-1\0", at=1e300, text="Ω\0\ud7ff", x=1.0
        )
        assert store.audit.list_lines() == [first, second]
        assert store.audit.list_lines(after=1) == [second]
        assert store.audit.list_lines(limit=1) == [first]
        assert (first.before, second.before) == ("0" * 64, first.hash)
        assert (type(first.detail["n"]), type(second.detail["x"])) == (int, float)
        assert store.audit.verify_lines() == 2

    def test_hash_is_of_the_canonical_json(self, store: Store) -> None:
        line = store.audit.append("ann", "review.note", "r", b=1, a="é")
        canonical = (
            '{"action":"review.note","actor":"ann","before":"' + "0" * 64 + '",'
            '"detail":{"a":"é","b":1},"seq":1,"subject":"r","time":"2026-05-04T12:00:00.123456Z"}'
        )
        assert line.hash == hashlib.sha256(canonical.encode()).hexdigest()

    def test_what_fails_leaves_no_line_and_no_gap(self, store: Store) -> None:
        put(store, "a")
        with pytest.raises(StoreError):
            store.requests.add(entry("a"), item("a"))
        with pytest.raises(ConflictError):
            store.reviews.decide("a", "ann", YES)
        store.reviews.claim("ann", 60)
        assert [line.seq for line in store.audit.list_lines()] == [1, 2]

    def test_writers_take_turns(self, store: Store, store_url: str, clock: Clock) -> None:
        other = Store.open(store_url, now=clock)

        def write(place: Store) -> None:
            for _ in range(10):
                place.audit.append("t", "x", "y")

        threads = [
            threading.Thread(target=write, args=(place,)) for place in (store, other, store, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        assert store.audit.verify_lines() == 40

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit SET actor = 'bob' WHERE seq = 1",
            "DELETE FROM audit WHERE seq = 2",
            "DELETE FROM audit",
        ],
    )
    def test_database_refuses_to_change_lines(
        self, store: Store, store_url: str, statement: str
    ) -> None:
        store.audit.append("ann", "x", "y")
        store.audit.append("ann", "x", "z")
        with pytest.raises(DBAPIError, match="the audit trail is only added to"):
            execute(store_url, statement)
        assert store.audit.verify_lines() == 2

    @pytest.mark.parametrize(
        ("statement", "found"),
        [
            ("UPDATE audit SET actor = 'bob' WHERE seq = 2", "line 2 was changed"),
            ("UPDATE audit SET detail = '{\"n\": 3}' WHERE seq = 3", "line 3 was changed"),
            ("UPDATE audit SET detail = '[]' WHERE seq = 3", "line 3 cannot be read"),
            ("UPDATE audit SET time = '2026-05-04 13:00:00.000000'", "line 1 was changed"),
            ("DELETE FROM audit WHERE seq = 1", "line 1 is missing"),
            ("DELETE FROM audit WHERE seq = 2", "line 2 is missing"),
            ("UPDATE audit SET before = hash WHERE seq = 4", "line 4 does not follow"),
            ("UPDATE audit SET seq = seq + 10 WHERE seq > 2", "line 3 is missing"),
        ],
    )
    def test_changed_line_is_found(
        self, store: Store, store_url: str, statement: str, found: str
    ) -> None:
        for number in range(4):
            store.audit.append("ann", "x", "y", n=number)
        let_audit_be_changed(store_url)
        execute(store_url, statement)
        with pytest.raises(StoreError, match=f"audit trail is broken: {found}"):
            store.audit.verify_lines()

    def test_line_that_was_sealed_anew_is_found(self, store: Store, store_url: str) -> None:
        old: AuditLine = store.audit.append("ann", "x", "y")
        store.audit.append("ann", "x", "z")
        let_audit_be_changed(store_url)
        forged = chain.hash_line(old.model_copy(update={"actor": "bob"}))
        execute(store_url, f"UPDATE audit SET actor = 'bob', hash = '{forged}' WHERE seq = 1")
        with pytest.raises(StoreError, match="line 2 does not follow"):
            store.audit.verify_lines()

    @pytest.mark.parametrize(
        ("statement", "found"),
        [
            ("DELETE FROM audit WHERE seq > 2", "line 3, noted in .*, is gone"),
            ("DELETE FROM audit", "line 1, noted in .*, is gone"),
        ],
    )
    def test_noted_heads_show_what_the_chain_cannot(
        self, store_url: str, clock: Clock, tmp_path: Path, statement: str, found: str
    ) -> None:
        anchor = Anchor(tmp_path / "heads")
        store = Store.open(store_url, now=clock, anchor=anchor)
        for number in range(4):
            store.audit.append("ann", "x", "y", n=number)
        let_audit_be_changed(store_url)
        execute(store_url, statement)
        store.audit.verify_lines()  # the chain holds
        with pytest.raises(StoreError, match=found):
            store.audit.verify_heads(anchor.read_heads(), "heads")
        store.close()
