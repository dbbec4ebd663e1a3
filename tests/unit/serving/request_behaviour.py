"""How requests and feedback are kept, and for how long, on any database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.unit.serving.store_cases import (
    LATER,
    START,
    Clock,
    OnStore,
    entry,
    put,
    shadow,
    silent,
)

from medtune.core.errors import ReviewError, StoreError
from medtune.core.schemas.guardrails import GuardVerdict
from medtune.serving.schemas import Decision, Feedback
from medtune.serving.storage import review_queue
from medtune.serving.storage.store import Store

YES = Decision(kind="approve")


class RequestBehaviour(OnStore):
    """Requests, and what askers say of the answers."""

    def test_request_comes_back_as_it_was(self, store: Store) -> None:
        bare = entry(
            "b", caller=None, subject=None, chosen=None, probabilities=None, options=0, reasons=()
        )
        full = entry(
            "a",
            reasons=(
                GuardVerdict(
                    guard="crisis", action="refuse", reason="crisis.self_harm", card="crisis"
                ),
                GuardVerdict(guard="classifier", action="allow", probability=0.1 + 0.2),
            ),
            probabilities=(1 / 3, 1e-300, 0.0, 1.0),
            redacted="β-blocker \0 \u2028 \U0001f489 'quoted' %s :x",
            subject="Gynäkologie\0",
            duration_s=1 / 3,
        )
        for one in (bare, full):
            store.keep(one, None)
            assert store.entry(one.request_id) == one
        assert store.reviewed("a") is None
        assert store.entry("a\0") is None
        assert store.entry("c") is None

    def test_times_are_utc(self, store: Store) -> None:
        there = datetime(2026, 5, 4, 3, 30, tzinfo=timezone(timedelta(hours=-5)))
        store.keep(entry("a", time=there), None)
        found = store.entry("a")
        assert found is not None
        assert found.time == there
        assert found.time.tzinfo is UTC
        assert list(store.entries(there, there + timedelta(microseconds=1))) == [found]

    def test_request_and_item_are_kept_together_or_not_at_all(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(store, "a")
        with pytest.raises(StoreError, match="refuses"):
            store.keep(entry("a"), None)

        def fail(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patched:
            patched.setattr(review_queue, "put", fail)
            with pytest.raises(RuntimeError):
                put(store, "b")
        assert store.entry("b") is None
        put(store, "b")
        assert store.reviewed("b") is not None

    def test_period_holds_its_start_and_not_its_end(self, store: Store) -> None:
        for at in (3, 1, 0, 2):
            store.keep(entry(f"r{at}", at), None)
        start = START + timedelta(seconds=1)
        found = store.entries(start, START + timedelta(seconds=3))
        assert [one.request_id for one in found] == ["r1", "r2"]
        assert list(store.entries(start, start)) == []

    def test_period_that_is_not_read_to_its_end_holds_nobody_up(self, store: Store) -> None:
        for at in range(3):
            store.keep(entry(f"r{at}", at), None)
        reading = store.entries(START, START + timedelta(days=1))
        next(reading)
        store.keep(entry("r9", 9), None)
        assert [one.request_id for one in reading] == ["r1", "r2"]

    def test_what_a_shadow_made_of_a_request_comes_back_with_it(self, store: Store) -> None:
        for at, name in enumerate("abcd"):
            store.keep(entry(name, at), None)
        made = [
            silent("d", "failed"),
            shadow("b", probabilities=(1 / 3, 1e-300, 0.0, 1.0), unsure=True),
            silent("a"),
        ]
        store.keep_shadows(made)
        whole = [(entry("a", 0), made[2]), (entry("b", 1), made[1]), (entry("d", 3), made[0])]
        assert list(store.shadowed(START, LATER)) == whole
        second = START + timedelta(seconds=1)
        assert list(store.shadowed(second, START + timedelta(seconds=3))) == whole[1:2]

    def test_shadows_are_kept_all_or_none_and_only_of_what_is_kept(self, store: Store) -> None:
        store.keep(entry("a"), None)
        store.keep(entry("b"), None)
        store.keep_shadows([shadow("a")])
        for wrong in ("a", "z"):  # it has one; it is no request
            with pytest.raises(StoreError, match="refuses"):
                store.keep_shadows([shadow("b"), shadow(wrong)])
        assert list(store.shadowed(START, LATER)) == [(entry("a"), shadow("a"))]

    def test_counts(self, store: Store, clock: Clock) -> None:
        nothing = store.counts()
        assert (nothing.by_status, nothing.waiting, nothing.held, nothing.oldest) == (
            {},
            0,
            0,
            None,
        )
        store.keep(entry("x", status="refused"), None)
        store.keep(entry("y"), None)
        put(store, "a", "b", "c")
        store.claim("ann", 60)
        store.claim("bob", 60)
        store.decide("a", "ann", YES)
        found = store.counts()
        assert found.by_status == {"refused": 1, "answered": 1, "pending_review": 3}
        assert (found.waiting, found.held) == (1, 1)
        assert found.oldest == START + timedelta(seconds=1)
        clock.forward(60)
        assert (store.counts().waiting, store.counts().held) == (2, 0)

    def test_feedback(self, store: Store) -> None:
        store.keep(entry("a"), None)
        first = Feedback(request_id="a", time=START, helpful=True)
        store.give_feedback(first)
        assert store.feedback() == [first]
        last = Feedback(request_id="a", time=START, helpful=False, corrected=3)
        store.give_feedback(last)
        assert store.feedback() == [last]
        with pytest.raises(ReviewError, match=r"^no request z"):
            store.give_feedback(Feedback(request_id="z", time=START, helpful=True))
        for corrected in (4, 10**30):
            with pytest.raises(ReviewError, match="request a has 4 options"):
                store.give_feedback(Feedback(request_id="a", time=START, corrected=corrected))
        assert store.feedback() == [last]

    def test_purge_takes_what_is_old_decided_or_not(self, store: Store) -> None:
        put(store, "a", "b", "c", wants_second=True)
        for reviewer in ("ann", "bob"):
            store.claim(reviewer, 60, "a")
            store.decide("a", reviewer, YES)
        store.give_feedback(Feedback(request_id="b", time=START, helpful=True))
        store.keep_shadows([shadow("a"), silent("b"), shadow("c")])
        lines = store.verify_audit()
        assert store.purge(START + timedelta(seconds=2)) == 2
        assert [store.entry(gone) for gone in "ab"] == [None, None]
        assert store.reviewed("a") is None
        assert (store.pairs(), store.finals(), store.feedback()) == ([], [], [])
        assert [i.request_id for i in store.waiting(10)] == ["c"]
        assert [one.request_id for _, one in store.shadowed(START, LATER)] == ["c"]
        assert store.verify_audit() == lines + 1
        (line,) = store.audit_lines(lines)
        assert (line.actor, line.action) == ("retention", "retention.purge")
        before = "2026-05-04T12:00:02.123456+00:00"
        assert line.detail == {"before": before, "requests": 2, "undecided": 1}
        assert store.purge(START) == 0

    def test_check(self, store: Store) -> None:
        store.check()
        assert store.verify_audit() == 0
